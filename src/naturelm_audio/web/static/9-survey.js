"use strict";
// What Camtrap DP must say of a survey, and no recording knows; asked for when it is wanted.
naturelm.survey = (job, recordings, take) => {
  const { make } = naturelm;
  const DESIGNS = {
    opportunistic: "opportunistic", targeted: "targeted", experimental: "experimental",
    systematicRandom: "systematic random", simpleRandom: "simple random", clusteredRandom: "clustered random",
  };
  const FIELDS = [
    ["project", "Title of the project", { required: true }],
    ["contributor", "Recorded by", { required: true }],
    ["site", "Site", { required: true }],
    ["latitude", "Latitude", { required: true, type: "number", step: "any", min: -90, max: 90, placeholder: "52.52" }],
    ["longitude", "Longitude", { required: true, type: "number", step: "any", min: -180, max: 180, placeholder: "13.41" }],
    ["time_zone", "Time zone of the recorder", { placeholder: "Europe/Berlin or +02:00" }],
    ["start_time", "Start, if neither name nor header says it", { placeholder: "2026-05-01 04:30:00" }],
  ].filter(([name]) => name !== "start_time" || recordings === 1);

  const field = (title, control) => make("label", { for: control.id }, make("span", { text: title }), control);
  const controls = FIELDS.map(([name, title, more]) => field(title, make("input", { type: "text", name, id: `nl-${name}-${job}`, ...more })));
  const design = field("Sampling design", make("select", { name: "design", id: `nl-design-${job}` },
    ...Object.entries(DESIGNS).map(([value, text]) => make("option", { value, text }))));
  const element = make("form", {
    class: "nl-survey", hidden: true, "aria-label": "About the survey",
    onsubmit: (event) => { event.preventDefault(); take(Object.fromEntries(new FormData(element))); },
  }, make("p", { text: "Camtrap DP tells others of a survey. These hold for all recordings that don't say otherwise." }),
  ...controls, design, make("button", { type: "submit", class: "nl-button", text: "Make Camtrap DP" }));

  function open() {
    element.hidden = !element.hidden;
    if (!element.hidden) element.querySelector("input").focus();
  }

  return { element, open };
};
