"""Tables in notebooks: the same content as HTML and as text."""

import pytest

from digit_utils.notebook.tables import Table

TABLE = Table(["set", "errors"], [["scans <mnist>", 41], ["pens", "1,024"]])


def test_text_is_aligned_with_numbers_to_the_right():
    assert str(TABLE).splitlines() == [
        "set             errors",
        "scans <mnist>       41",
        "pens             1,024",
    ]


def test_html_has_a_row_for_each_row_and_escapes_its_cells():
    html = TABLE._repr_html_()
    assert html.count("<tr>") == 3
    assert "<th>errors</th>" in html
    assert "<td>scans &lt;mnist&gt;</td><td>41</td>" in html


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"the row \['a'\] has 1 values, but there are 2 columns"):
        Table(["set", "errors"], [["a"]])
