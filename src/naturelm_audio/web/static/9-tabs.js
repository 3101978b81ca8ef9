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
  root.append(make("div", { role: "tablist", class: "nl-tabs", "aria-label": "Ways to ask" }, ...tabs));

  function choose(chosen) {
    document.body.dataset.nlTab = names[chosen][0];
    tabs.forEach((tab, at) => {
      tab.setAttribute("aria-selected", String(at === chosen));
      tab.tabIndex = at === chosen ? 0 : -1;
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

  /** Say what the panels are, as soon as Gradio has made them. */
  function describe() {
    for (const [id] of names) {
      const panel = document.getElementById(`nl-panel-${id}`);
      if (!panel) { setTimeout(describe, 20); return; }
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", `nl-tab-${id}`);
    }
  }

  choose(0);
  describe();
  return () => {};
};
