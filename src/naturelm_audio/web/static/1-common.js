"use strict";
// What all parts of the page share. Text goes into the page as text, never as markup.
window.naturelm = (() => {
  const parts = {};
  const TRIES = 5; // after a lost connection, 1, 2, 3 and 4 seconds apart

  /** A new element: attributes, "on..." handlers, text and children. */
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (name === "text") element.textContent = value;
      else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  /** 3725.5 -> "1:02:05.5"; tenths only where asked for. */
  function clock(seconds, tenths = false) {
    const whole = tenths ? Math.round(seconds * 10) / 10 : Math.round(seconds);
    const hours = Math.floor(whole / 3600);
    const minutes = Math.floor((whole % 3600) / 60);
    const rest = whole % 60;
    const shown = tenths && rest % 1 ? rest.toFixed(1).padStart(4, "0") : String(Math.floor(rest)).padStart(2, "0");
    return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${shown}` : `${minutes}:${shown}`;
  }

  const span = (start, end) => `${clock(start, true)} – ${clock(end, true)}`;
  const percent = (share) => `${Math.round(share * 100)} %`;
  const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

  /** JSON of an address; errors are sentences. */
  async function ask(address, options = {}) {
    let response;
    try {
      response = await fetch(address, options);
    } catch {
      throw Object.assign(new Error("The app does not answer: it was stopped, or the connection is lost."), { lost: true });
    }
    const content = await response.json().catch(() => ({}));
    if (!response.ok) throw new Error(content.problem || `The app answered with an error (${response.status}).`);
    return content;
  }

  const base = (session) => `naturelm/${session}`;

  function address(session, kind, upload, start, end, listening = {}) {
    const query = new URLSearchParams({
      start, end, channel: listening.channel || 0, speed: listening.speed || 1,
    });
    return `${base(session)}/${kind}/${upload}?${query}`;
  }

  const lives = new Map();

  /** Aborted when a clip is deleted or about to be: nothing of it is asked for any more. */
  function life(id) {
    if (!lives.has(id)) lives.set(id, new AbortController());
    return lives.get(id);
  }

  const goneNote = (clip) => make("p", { class: "nl-empty", text: `${clip.name} was removed.` });

  function leave(clip) {
    life(clip.id).abort();
    for (const element of document.querySelectorAll(`.nl-listen[data-clip="${clip.id}"]`)) {
      for (const part of element.querySelectorAll("img, audio")) part.removeAttribute("src"); // else they go on loading
      element.replaceChildren(goneNote(clip));
    }
  }

  /** A stretch of sound: its picture with a moving line, and a player. */
  function listen(session, clip, start, end, listening = {}) {
    if (life(clip.id).signal.aborted) return goneNote(clip);
    const picture = make("img", {
      src: address(session, "pictures", clip.id, start, end, listening),
      alt: `Spectrogram of ${clip.name}, ${span(start, end)}, low frequencies at the bottom`,
      loading: "lazy",
    });
    const line = make("div", { class: "nl-line", "aria-hidden": "true" });
    const heard = make("audio", {
      controls: true, preload: "none",
      src: address(session, "sounds", clip.id, start, end, listening),
      "aria-label": `Listen to ${clip.name}, ${span(start, end)}`,
    });
    const follow = () => {
      line.style.left = heard.duration ? `${(100 * heard.currentTime) / heard.duration}%` : "0";
      if (!heard.paused) requestAnimationFrame(follow);
    };
    heard.addEventListener("play", () => {
      for (const other of document.querySelectorAll("audio")) if (other !== heard) other.pause();
      line.classList.add("nl-on");
      follow();
    });
    heard.addEventListener("seeked", follow);
    const frame = make("div", { class: "nl-picture" }, picture, line, frequencies(listening.speed || 1));
    return make("div", { class: "nl-listen", "data-clip": clip.id }, frame, heard);
  }

  /** Marks of frequency at the left edge of a picture, where the mel scale has them. */
  function frequencies(speed = 1) {
    const mel = (hertz) => Math.log(1 + hertz / 700);
    const marks = [500, 1000, 2000, 4000].map((hertz) => {
      const share = (mel(hertz) - mel(20)) / (mel(8000) - mel(20));
      const kilohertz = hertz / speed / 1000;
      const shown = make("span", { text: `${Number(kilohertz.toPrecision(2))} kHz` });
      shown.style.bottom = `${100 * share}%`;
      return shown;
    });
    return make("div", { class: "nl-frequencies", "aria-hidden": "true" }, ...marks);
  }

  /** Asks for a job's new rows until it ends; a connection that is lost for a moment ends nothing. */
  function follow(session, job, onNews) {
    let after = 0;
    let failures = 0;
    let stopped = false;
    async function step() {
      if (stopped) return;
      let news;
      try {
        news = await ask(`${base(session)}/jobs/${job}?after=${after}`);
        failures = 0;
      } catch (error) {
        failures += error.lost ? 1 : TRIES;
        if (failures < TRIES) { setTimeout(step, failures * 1000); return; }
        news = { state: "failed", problem: error.message, rows: after, expected: after, new: [] };
      }
      if (stopped) return;
      after += news.new.length;
      onNews(news);
      const more = news.state === "running" || after < news.rows;
      if (more) setTimeout(step, after < news.rows ? 0 : 400);
    }
    step();
    return () => { stopped = true; };
  }

  const cancel = (session, job) => ask(`${base(session)}/jobs/${job}/cancel`, { method: "POST" }).catch(() => {});

  /** A line that says how far a job is, with a bar and a button to stop it. */
  function progress(session, job, unit = "answer") {
    const bar = make("progress", { max: 1, value: 0, "aria-label": "Progress" });
    const words = make("span", { role: "status", text: "Starting …" });
    const stop = make("button", {
      type: "button", class: "nl-button", text: "Cancel",
      onclick: () => { stop.disabled = true; words.textContent = "Stopping …"; cancel(session, job); },
    });
    const element = make("div", { class: "nl-progress" }, bar, words, stop);
    function update(news) {
      bar.max = Math.max(news.expected, 1);
      bar.value = news.rows;
      const done = count(news.rows, unit);
      const left = news.left_seconds === null || news.left_seconds === undefined ? "" : `, about ${clock(news.left_seconds)} left`;
      if (news.state === "running" && !stop.disabled) words.textContent = `${done} of about ${news.expected.toLocaleString("en")}${left}`;
      if (news.state === "done") words.textContent = `Done: ${done} in ${clock(news.elapsed_seconds)}.`;
      if (news.state === "cancelled") words.textContent = `Cancelled: ${done} until then.`;
      if (news.state === "failed") words.textContent = news.problem || "Failed.";
      element.classList.toggle("nl-problem", news.state === "failed");
      if (news.state !== "running") { stop.remove(); bar.remove(); }
    }
    return { element, update };
  }

  /** Buttons that bring the rows home in every form; a form that can't be made says why. */
  function downloads(session, job, kinds, recordings, options = () => ({}), note = null) {
    const said = make("p", { role: "status", class: "nl-status" });
    const merge = make("input", { type: "checkbox", id: `nl-merge-${job}` });
    async function take(kind, name, more = {}) {
      said.textContent = `Making ${name} …`;
      const query = new URLSearchParams({ merge: merge.checked ? 1 : 0, ...options(), ...more });
      try {
        const response = await fetch(`${base(session)}/jobs/${job}/downloads/${kind}?${query}`);
        if (!response.ok) throw new Error((await response.json().catch(() => ({}))).problem || "It could not be made.");
        const file = decodeURIComponent(response.headers.get("Content-Disposition").split("''")[1]);
        const link = make("a", { href: URL.createObjectURL(await response.blob()), download: file });
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 60000);
        said.textContent = `${file} is in your downloads.`;
      } catch (error) {
        said.textContent = error.message;
      }
    }
    const survey = naturelm.survey(job, recordings, (more) => take("camtrap-dp", "Camtrap DP", more));
    const buttons = Object.entries(kinds).map(([kind, name]) => make("button", {
      type: "button", class: "nl-button", text: name, onclick: () => (kind === "camtrap-dp" ? survey.open() : take(kind, name)),
    }));
    return make("section", { class: "nl-downloads", "aria-label": "Downloads" },
      make("strong", { text: "Take the answers home" }), note && make("p", { class: "nl-empty", text: note }),
      make("label", { for: merge.id }, merge, make("span", { text: "join equal answers of neighbouring windows" })),
      make("div", {}, ...buttons), survey.element, said);
  }

  /** How expected the words of an answer were, as a bar and a number. */
  function confidence(share) {
    if (share === null || share === undefined) return null;
    const bar = make("span", { class: "nl-bar", "aria-hidden": "true" });
    bar.style.setProperty("--share", percent(share).replace(" ", ""));
    return make("span", { class: "nl-confidence", title: "How expected the words were to the model; not a probability of being right" },
      bar, make("span", { text: percent(share) }));
  }

  const problemOf = (row) => (row.error ? row.error.replace(/^[a-z_]+: /, "") : null);

  /** Called from each part of the page when Gradio has made it. */
  function mount(name, element, props, trigger, watch) {
    const root = make("div", { class: `nl nl-${name}` });
    element.replaceChildren(root);
    const update = parts[name](root, props, trigger);
    watch("value", () => update(props.value || {}));
    update(props.value || {});
  }

  return {
    parts, make, clock, span, percent, count, ask, base, address, listen, leave, life, frequencies, follow, cancel, progress,
    downloads, confidence, problemOf, mount,
  };
})();
