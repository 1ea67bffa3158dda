// The theme's arrows that unfold a chapter in the side bar have no text: name them for screen readers.
for (const arrow of document.querySelectorAll("li.has-children > details > summary")) {
  arrow.setAttribute("aria-label", `Sections of ${arrow.closest("li").querySelector("a").textContent.trim()}`);
}
