// Sets the colour theme before the first paint. A classic script in the head, because modules run too late.
(function () {
  "use strict";
  let theme = null;
  try {
    theme = localStorage.getItem("theme");
  } catch {
    // Storage may be blocked; the system's theme is then used.
  }
  document.documentElement.dataset.theme = theme === "dark" || theme === "light" ? theme : "system";
})();
