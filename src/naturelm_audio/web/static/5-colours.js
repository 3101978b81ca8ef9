"use strict";
// One colour and one letter for each answer: the letter for those to whom colours say little.
naturelm.colours = (() => {
  // Okabe and Ito's palette, told apart by every kind of colour vision.
  const PALETTE = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"];
  const OTHERS = "#999999";
  const NONE = /^(none|)$/i;

  function ink(colour) {
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255);
    return 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 ? "#000000" : "#ffffff";
  }

  /** Keeps the colour of an answer once it has one, whatever comes later. */
  function table() {
    const known = new Map();
    function of(text) {
      const key = (text || "").trim();
      if (NONE.test(key)) return { colour: "transparent", ink: "currentColor", letter: "–", none: true };
      if (!known.has(key)) {
        const number = known.size;
        const colour = number < PALETTE.length ? PALETTE[number] : OTHERS;
        const letter = number < 26 ? String.fromCharCode(65 + number) : "…";
        known.set(key, { colour, ink: ink(colour), letter, none: false });
      }
      return known.get(key);
    }
    return { of };
  }

  return { table };
})();
