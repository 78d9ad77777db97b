// What the drawing page does beyond its widgets: it is light or dark, shows when the connection is lost, makes the pad's
// keys work wherever the focus is, and leaves all other keys to the browser.
(() => {
  "use strict";

  // --------------------------------------------------------------------------------- light or dark, or as the system is
  const THEME = "digits-theme";  // under which the browser keeps the choice
  const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
  let theme = document.body.dataset.theme;
  try {
    theme = localStorage.getItem(THEME) || theme;
  } catch { /* a browser that keeps nothing for this site */ }

  // Called before the first paint, again once the styles and the switch are there, and at every change.
  window.showTheme = () => {
    const { body } = document;
    const isDark = theme === "dark" || (theme !== "light" && systemIsDark.matches);
    const name = isDark ? "dark" : "light";
    body.classList.remove("theme-light", "theme-dark");
    body.classList.add(`theme-${name}`);
    body.dataset.jpThemeLight = String(!isDark);
    body.dataset.jpThemeName = isDark ? "JupyterLab Dark" : "JupyterLab Light";
    for (const link of document.querySelectorAll("link[media]")) link.media = link.href.includes(name) ? "all" : "not all";
    for (const choice of document.querySelectorAll("#page-theme")) choice.value = theme;
  };
  systemIsDark.addEventListener("change", showTheme);
  addEventListener("change", event => {
    if (event.target.id !== "page-theme") return;
    theme = event.target.value;
    try {
      localStorage.setItem(THEME, theme);
    } catch { /* it holds until the page is left */ }
    showTheme();
  });
  showTheme();

  // ------------------------------------------------------------------------------- the connection, and its loss
  const ENDED = 4001;            // close code of the server: the kernel of this page is gone
  const SLOW_AFTER = 4000;       // milliseconds without an answer until the page says that it waits
  const STUCK_AFTER = 20000;     // milliseconds without an answer until the page offers to reload
  const ENDED_AFTER = 120000;    // milliseconds until a lost connection is not expected to come back
  const MESSAGES = {
    lost: "Connection lost. Reconnecting ...",
    slow: "Waiting for an answer ...",
    stuck: "No answer yet. Wait, or reload the page to start over.",
    ended: "This session has ended. Reload the page to start over.",
  };
  let state = "fine", askedAt = 0, leaving = false;
  let lostSince = 0;             // when the connection closed, until it is open again; 0 while it is open

  function show(next) {
    if (leaving || state === next || state === "ended") return;
    state = next;
    const banner = document.getElementById("page-banner");
    banner.hidden = next === "fine";
    banner.querySelector("span").textContent = MESSAGES[next] || "";
    banner.querySelector("button").hidden = next === "slow";
    document.body.classList.toggle("page-has-ended", next === "ended");
  }

  function lost() {
    askedAt = 0;
    show("lost");
  }

  function back() {
    lostSince = 0;
    show("fine");
  }

  // While the connection is lost: check that the kernel is still there, so that the connection can come back.
  async function askForKernel(address) {
    if (state !== "lost" || !lostSince) return;
    if (Date.now() - lostSince > ENDED_AFTER) return show("ended");
    try {
      const answer = await fetch(address, { cache: "no-store" });
      if (!answer.ok) return show("ended");
    } catch { /* no network yet */ }
    setTimeout(askForKernel, 2000, address);
  }

  window.WebSocket = class extends window.WebSocket {
    constructor(address, ...options) {
      super(address, ...options);
      if (!String(address).includes("/api/kernels/")) return;
      const kernel = String(address).replace(/^ws/, "http").replace(/\/channels.*$/, "");
      this.addEventListener("open", back);
      this.addEventListener("message", () => { askedAt = 0; if (state !== "fine") back(); });
      this.addEventListener("close", event => {
        if (event.code === ENDED) return show("ended");
        lostSince = lostSince || Date.now();
        lost();
        askForKernel(kernel);
      });
    }
    send(message) {
      askedAt = askedAt || Date.now();
      super.send(message);
    }
  };
  setInterval(() => {
    const waited = askedAt ? Date.now() - askedAt : 0;
    if (state === "fine" && waited > SLOW_AFTER) show("slow");
    else if (state === "slow" && waited > STUCK_AFTER) show("stuck");  // a kernel that hangs, or a connection that slept
  }, 1000);
  addEventListener("offline", lost);                                    // maybe not: a page served by this machine goes on
  addEventListener("online", () => { if (!lostSince) show("fine"); });  // if it was lost, "close" is still to come
  addEventListener("pagehide", () => { leaving = true; });
  addEventListener("pageshow", event => { if (event.persisted) location.reload(); });
  addEventListener("click", event => { if (event.target.closest("#page-banner button")) location.reload(); });
  setTimeout(() => {
    const waiting = document.querySelector("#skeleton p");
    if (waiting && !document.querySelector(".digit-pad canvas")) {
      waiting.textContent = "This is taking too long. Reload the page to try again.";
    }
  }, 45000);

  // ------------------------------------------------------------------------------- once the pad is there
  const showPage = () => document.body.classList.remove("page-is-loading");
  new MutationObserver((_, observer) => {
    if (document.querySelector('#rendered_cells p[role="alert"]')) showPage();
    for (const paper of document.querySelectorAll(".digit-pad canvas")) {
      showPage();
      paper.setAttribute("role", "img");
      paper.setAttribute("aria-label", "Paper to draw a number on");
      observer.disconnect();
    }
  }).observe(document, { childList: true, subtree: true });

  // A picture that is dropped beside the pad would take the page's place.
  for (const name of ["dragover", "drop"]) addEventListener(name, event => event.preventDefault());

  // ------------------------------------------------------------------------------------------------- the keys
  const KEYS = ["Backspace", "Delete", "Escape"];                // work wherever the focus is
  const KEYS_ON_PAPER = [...KEYS, "Enter", "ArrowLeft", "ArrowRight", ..."0123456789"];

  addEventListener("keydown", event => {
    const paper = document.querySelector(".digit-pad canvas");
    if (!paper || !event.isTrusted || event.target.closest("input, textarea, select")) return;
    const isUndoOrRedo = ["z", "y"].includes(event.key.toLowerCase()) && (event.ctrlKey || event.metaKey) && !event.altKey;
    const modified = event.ctrlKey || event.metaKey || event.altKey;
    const onPaper = event.target === paper;
    if (!isUndoOrRedo && (modified || !(onPaper ? KEYS_ON_PAPER : KEYS).includes(event.key))) {
      // The canvas would keep any key from the browser: Tab could not leave the paper, F5 would not reload.
      if (onPaper) event.stopImmediatePropagation();
      return;
    }
    if (onPaper) return;
    event.preventDefault();
    const { key, ctrlKey, metaKey, shiftKey } = event;
    paper.dispatchEvent(new KeyboardEvent("keydown", { key, ctrlKey, metaKey, shiftKey, bubbles: true }));
  }, true);
})();
