// Sliders, zoom, and whether a reason is needed; the page works without. No key signs or sends anything.
for (const slider of document.querySelectorAll("[data-opacity]")) {
  const heat = slider.closest("figure").querySelector(".heat");
  const show = () => { heat.hidden = slider.value === "0"; heat.style.opacity = slider.value / 100; };
  slider.addEventListener("input", show);
  show();
}

for (const stack of document.querySelectorAll("[data-zoom]")) {
  const toggle = (x, y) => {
    stack.style.setProperty("--x", `${x}%`);
    stack.style.setProperty("--y", `${y}%`);
    stack.classList.toggle("zoomed");
  };
  stack.addEventListener("click", (event) => {
    const box = stack.getBoundingClientRect();
    toggle(100 * (event.clientX - box.left) / box.width, 100 * (event.clientY - box.top) / box.height);
  });
  stack.addEventListener("keydown", (event) => { if (event.key === "Enter") toggle(50, 50); });
}

for (const link of document.querySelectorAll("[data-slow]")) {
  link.addEventListener("click", () => { document.querySelector("[data-computing]").hidden = false; });
}

const why = document.querySelector("input[name=overrules]");
const choices = document.querySelectorAll("form.reading [data-suggested]");
const followed = () => {
  why.required = [...choices].some((choice) => choice.value && choice.value !== choice.dataset.suggested);
};
for (const choice of choices) choice.addEventListener("change", followed);
if (why) followed();
