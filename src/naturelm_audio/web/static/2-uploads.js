"use strict";
// Recordings that a user gives: dropped, chosen or examples; each with its picture and player.
naturelm.parts.uploads = (root, props) => {
  const { make, ask, base, clock, count, leave, listen } = naturelm;
  const { tab, multiple, accept, upload_bytes: limit, cards } = props;
  let session = null;
  const clips = [];
  const entries = new Map(); // clip -> its line on the page
  let queue = Promise.resolve(); // files go up one after another, also those of a second drop
  let sending = null;
  let stopped = false;
  const early = []; // dropped while the page was still connecting

  const input = make("input", {
    type: "file", accept, multiple, class: "nl-file", id: `nl-file-${tab}`,
    "aria-describedby": `nl-hint-${tab}`, onchange: () => { take([...input.files]); input.value = ""; },
  });
  const label = make("label", { for: `nl-file-${tab}`, class: "nl-drop" },
    make("strong", { text: multiple ? "Drop recordings here, or choose them" : "Drop a recording here, or choose it" }),
    make("span", { id: `nl-hint-${tab}`, text: props.hint }));
  const status = make("div", { role: "status", class: "nl-status" });
  const problems = make("div", { class: "nl-problems", role: "alert" });
  const list = make("ul", { class: cards ? "nl-cards" : "nl-files", "aria-label": "Recordings" });
  const clear = make("button", {
    type: "button", class: "nl-button", text: "Remove all", hidden: true,
    onclick: () => { problems.replaceChildren(); for (const clip of [...clips]) remove(clip); },
  });
  const stop = make("button", { type: "button", class: "nl-button", text: "Cancel upload", hidden: true, onclick: () => { stopped = true; sending?.abort(); } });
  const drop = make("div", { class: "nl-dropzone" }, input, label);
  const preview = make("div", { class: "nl-preview" }); // of a long recording, until its answers have a picture
  const examples = make("div", { class: "nl-examples" });
  root.append(drop, examples, make("div", { class: "nl-sending" }, status, stop), problems, list, preview, clear);

  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("nl-over", kind === "dragover");
      if (kind === "drop") take([...event.dataTransfer.files]);
    });
  }

  function complain(sentence) {
    problems.append(make("div", { class: "nl-complaint" }, make("span", { text: sentence }), make("button", {
      type: "button", class: "nl-close", "aria-label": "Dismiss", text: "×",
      onclick: (event) => event.target.closest(".nl-complaint").remove(),
    })));
  }

  function send(file, number, total) {
    return new Promise((resolve) => {
      const request = sending = new XMLHttpRequest();
      request.open("POST", `${base(session)}/uploads/${tab}?name=${encodeURIComponent(file.name)}`);
      request.responseType = "json";
      request.upload.onprogress = (event) => {
        const share = event.total ? Math.round((100 * event.loaded) / event.total) : 0;
        status.textContent = `Uploading ${file.name} (${number} of ${total}): ${share} %`;
      };
      request.onload = () => {
        const answer = request.response || {};
        if (request.status === 200 && answer.id) resolve(answer);
        else resolve({ problem: answer.problem || `${file.name} could not be uploaded.` });
      };
      request.onabort = () => resolve({});
      request.onerror = () => resolve({ problem: `${file.name} could not be uploaded: the app does not answer.` });
      request.send(file);
    });
  }

  function take(files) {
    if (!files.length) return;
    if (!session) { early.push(...files); return; }
    queue = queue.then(() => takeAll(multiple ? files : files.slice(0, 1))).catch((error) => complain(error.message));
  }

  async function takeAll(chosen) {
    problems.replaceChildren();
    stopped = false;
    for (const [index, file] of chosen.entries()) {
      if (stopped) break;
      if (file.size > limit) {
        complain(`${file.name} is larger than the ${Math.round(limit / 1e6).toLocaleString("en")} MB that this app takes: split it.`);
        continue;
      }
      status.textContent = `Uploading ${file.name} (${index + 1} of ${chosen.length})`;
      stop.hidden = false;
      add(await send(file, index + 1, chosen.length));
    }
    stop.hidden = true;
    tell();
  }

  function add(clip) {
    if (clip.problem) complain(clip.problem);
    if (!clip.id || (clip.problem && tab !== "batch")) return;
    if (!multiple) for (const one of [...clips]) { leave(one); forget(one); }
    clips.push(clip);
    entries.set(clip, item(clip));
    list.append(entries.get(clip));
    if (!multiple) preview.replaceChildren(overview(clip));
  }

  function tell() {
    const seconds = clips.reduce((sum, clip) => sum + (clip.seconds || 0), 0);
    status.textContent = clips.length ? `${count(clips.length, "recording")}, ${clock(seconds)} of sound` : "";
    clear.hidden = clips.length < 2;
  }

  function item(clip) {
    const facts = clip.problem ? "can't be read" : [
      clock(clip.seconds, true), `${Number((clip.rate_hz / 1000).toFixed(2))} kHz`,
      clip.channels > 1 ? `${clip.channels} channels, heard as their mean` : null,
    ].filter(Boolean).join(" · ");
    const close = make("button", {
      type: "button", class: "nl-close", "aria-label": `Remove ${clip.name}`, text: "×", onclick: () => remove(clip),
    });
    return make("li", { class: clip.problem ? "nl-broken" : null },
      make("div", { class: "nl-name" }, make("strong", { text: clip.name }), make("span", { text: facts }), close),
      cards && !clip.problem ? listen(session, clip, 0, Math.max(clip.seconds, 0.05)) : null);
  }

  function overview(clip) {
    const value = { session, clip, seconds: clip.seconds, questions: [], listening: {} };
    return naturelm.timeline(value, [], naturelm.colours.table(), () => {}).element;
  }

  function forget(clip) {
    preview.replaceChildren();
    entries.get(clip)?.remove();
    entries.delete(clip);
    clips.splice(0, clips.length, ...clips.filter((one) => one !== clip));
  }

  async function remove(clip) {
    leave(clip);
    await ask(`${base(session)}/uploads/${tab}/${clip.id}`, { method: "DELETE" }).catch(() => {});
    forget(clip);
    tell();
  }

  async function example(name) {
    if (!session) return;
    status.textContent = `Adding ${name}`;
    try {
      add(await ask(`${base(session)}/examples/${tab}/${encodeURIComponent(name)}`, { method: "POST" }));
    } catch (error) {
      complain(error.message);
    }
    tell();
  }

  function offer(names) {
    if (!names.length) return;
    examples.replaceChildren(make("span", { text: "Or an example:" }), ...names.map((name) => make("button", {
      type: "button", class: "nl-chip", text: name, onclick: () => example(name),
    })));
  }

  return (value) => {
    if (!value.session || value.session === session) return;
    session = value.session;
    offer(props.examples || []);
    take(early.splice(0));
  };
};
