"use strict";
// The tabs. All their parts are there from the start: Gradio's own tabs make them when they are opened, and set them
// to their first values a moment later, so that what was typed in that moment was gone.
naturelm.parts.tabs = (root, props) => {
  const { make } = naturelm;
  const names = Object.entries(props.names);
  const tabs = names.map(([id, name], at) => make("button", {
    type: "button", role: "tab", id: `nl-tab-${id}`, "aria-controls": `nl-panel-${id}`, text: name,
    onclick: () => choose(at), onkeydown: (event) => move(event, at),
  }));
  const panels = names.map(([id]) => `nl-panel-${id}`);

  function choose(chosen) {
    tabs.forEach((tab, at) => {
      tab.setAttribute("aria-selected", String(at === chosen));
      tab.tabIndex = at === chosen ? 0 : -1;
      document.getElementById(panels[at]).toggleAttribute("data-open", at === chosen);
    });
  }

  function move(event, at) {
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = (to + tabs.length) % tabs.length;
    choose(next);
    tabs[next].focus();
  }

  /** Begin as soon as Gradio has made the panels. */
  function begin() {
    const made = panels.map((id) => document.getElementById(id));
    if (made.includes(null)) { setTimeout(begin, 20); return; }
    made.forEach((panel, at) => {
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", tabs[at].id);
    });
    root.append(make("div", { role: "tablist", class: "nl-tabs", "aria-label": "Ways to ask" }, ...tabs));
    choose(0);
  }

  begin();
  return () => {};
};
