"use strict";
// The spectrogram of a recording of any length, drawn from tiles of 256 columns at the level that fits the zoom.
naturelm.tiles = (session, upload, listening, changed) => {
  const TILE = 256;
  const FINEST = 0.01; // seconds of a column at level 0
  const MOST = 160; // tiles kept, about 10 MB
  const AT_ONCE = 3;
  const kept = new Map();
  const wanted = [];
  let loading = 0;

  const { signal } = naturelm.life(upload);
  signal.addEventListener("abort", () => {
    for (const image of kept.values()) if (!image.ready) image.removeAttribute("src");
  }, { once: true });

  const name = (level, index) => `${level}/${index}`;

  function load() {
    while (loading < AT_ONCE && wanted.length && !signal.aborted) {
      const { level, index } = wanted.pop(); // what was asked for last is what is looked at now
      const key = name(level, index);
      if (kept.has(key)) continue;
      const image = new Image();
      kept.set(key, image);
      loading += 1;
      const query = new URLSearchParams({ channel: listening.channel || 0, speed: listening.speed || 1 });
      image.onload = () => { loading -= 1; image.ready = true; changed(); load(); };
      image.onerror = () => { loading -= 1; kept.delete(key); load(); };
      image.src = `${naturelm.base(session)}/tiles/${upload}/${level}/${index}?${query}`;
      if (kept.size > MOST) kept.delete(kept.keys().next().value);
    }
  }

  function level(secondsPerPixel) {
    return Math.max(0, Math.min(20, Math.round(Math.log2(secondsPerPixel / FINEST))));
  }

  /** Draw from start to end into a canvas; coarser tiles stand in for those on their way. Returns how many are. */
  function draw(context, start, end, width, height) {
    context.imageSmoothingEnabled = true;
    const perPixel = (end - start) / width;
    const best = level(perPixel);
    wanted.length = 0;
    let missing = 0;
    for (const now of [best + 3, best + 2, best + 1, best]) {
      const seconds = FINEST * 2 ** now * TILE;
      for (let index = Math.floor(start / seconds); index * seconds < end; index += 1) {
        const image = kept.get(name(now, index));
        if (now === best && !image?.ready) missing += 1;
        if (image && image.ready) {
          kept.delete(name(now, index));
          kept.set(name(now, index), image); // last used, last dropped
          const left = (index * seconds - start) / perPixel;
          context.drawImage(image, 0, 0, TILE, image.height, left, 0, seconds / perPixel, height);
        } else if (!image && now === best) wanted.unshift({ level: now, index });
      }
    }
    load();
    return missing;
  }

  return { draw };
};
