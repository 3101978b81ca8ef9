"use strict";
// A heading that shows and hides a part of the page. Gradio's own makes what is inside only when it is opened, and
// then sets it to its first values a moment later: what was typed in that moment was gone.
naturelm.parts.unfold = (root, props) => {
  const { make } = naturelm;
  const arrow = make("span", { "aria-hidden": "true", text: "▸" });
  const heading = make("button", {
    type: "button", class: "nl-unfold", "aria-controls": props.controls, "aria-expanded": "false", onclick: toggle,
  }, make("span", { text: props.heading }), arrow);
  root.append(heading);

  function toggle() {
    const open = heading.getAttribute("aria-expanded") !== "true";
    heading.setAttribute("aria-expanded", String(open));
    arrow.textContent = open ? "▾" : "▸";
    document.getElementById(props.controls).toggleAttribute("data-open", open);
  }
  return () => {};
};
