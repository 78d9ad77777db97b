def enable_custom_widget_manager() -> None:
    print("the custom widget manager is on")
