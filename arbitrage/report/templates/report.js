"use strict";
(() => {
  const root = document.documentElement;
  const themes = ["system", "light", "dark"];
  const button = document.getElementById("theme");
  const remember = (theme) => { try { localStorage.setItem("arbitrage-theme", theme); } catch { /* private window */ } };
  const recall = () => { try { return localStorage.getItem("arbitrage-theme"); } catch { return null; } };
  const setTheme = (theme) => {
    if (theme === "system") delete root.dataset.theme; else root.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
  };
  let theme = themes.includes(recall()) ? recall() : "system";
  setTheme(theme);
  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    setTheme(theme);
    remember(theme);
  });

  const links = [...document.querySelectorAll("nav a[href^='#']")];
  const byId = new Map(links.map((link) => [link.getAttribute("href").slice(1), link]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links) link.removeAttribute("aria-current");
      byId.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-10% 0px -80% 0px" });
  for (const id of byId.keys()) { const part = document.getElementById(id); if (part) seen.observe(part); }

  const gallery = document.querySelector(".gallery");
  if (!gallery) return;
  const cases = [...gallery.querySelectorAll(".case")];
  const language = document.getElementById("gallery-language");
  const position = document.getElementById("gallery-position");
  let shown = cases;
  let at = 0;
  const show = (index) => {
    at = (index + shown.length) % shown.length;
    for (const one of cases) one.hidden = one !== shown[at];
    position.textContent = `${at + 1} of ${shown.length}`;
  };
  language.addEventListener("change", () => {
    shown = cases.filter((one) => !language.value || one.dataset.language === language.value);
    show(0);
  });
  document.getElementById("gallery-previous").addEventListener("click", () => show(at - 1));
  document.getElementById("gallery-next").addEventListener("click", () => show(at + 1));
  gallery.addEventListener("keydown", (event) => {
    if (event.target === language || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft") show(at - 1);
    else if (event.key === "ArrowRight") show(at + 1);
    else return;
    event.preventDefault();
  });
  show(0);
})();
