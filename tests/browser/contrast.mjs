// How text stands out from what is behind it, for all text of a notebook's outputs: WCAG 2.2's contrast
// ratio (1.4.3), which is to be 4.5, or 3 for large text.

/** Texts of outputs with too little contrast, each with its ratio. To be run in the page. */
export function weakTexts() {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  // Any CSS colour as [r, g, b, a], also color(srgb …), which getComputedStyle may give.
  const parse = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], [r2, g2, b2]) => [r * a + r2 * (1 - a), g * a + g2 * (1 - a), b * a + b2 * (1 - a), 1];
  const luminance = ([r, g, b]) => {
    const linear = [r, g, b].map((part) => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const ratio = (a, b) => {
    const [light, dark] = [luminance(a), luminance(b)].toSorted((x, y) => y - x);
    return (light + 0.05) / (dark + 0.05);
  };
  /** What is painted behind an element's text, and how opaque the element is in all. */
  const surroundings = (element) => {
    const layers = [];
    let opacity = 1;
    for (let node = element; node; node = node.parentElement) {
      const style = getComputedStyle(node);
      layers.push(parse(style.backgroundColor));
      opacity *= Number(style.opacity);
    }
    return { behind: layers.reduceRight((below, layer) => over(layer, below), [255, 255, 255, 1]), opacity };
  };
  const weak = new Map();
  let count = 0;
  for (const output of document.querySelectorAll(".jp-OutputArea-output")) {
    const walker = document.createTreeWalker(output, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const [node, element] = [walker.currentNode, walker.currentNode.parentElement];
      // What is disabled needs none (1.4.3), what is folded or inside a picture is not seen as text, and the
      // colours of terminal codes and of JSON trees are JupyterLab's own.
      const skipped = "[disabled], script, style, svg, canvas, [class^=ansi-], .jp-RenderedJSON";
      if (!node.data.trim() || !element.checkVisibility() || element.closest(skipped)) continue;
      const style = getComputedStyle(element);
      const { behind, opacity } = surroundings(element);
      const [r, g, b, a] = parse(style.color);
      const found = ratio(over([r, g, b, a * opacity], behind), behind);
      const size = parseFloat(style.fontSize);
      const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
      count++;
      if (found < (isLarge ? 3 : 4.5)) weak.set(`${found.toFixed(2)}: ${node.data.trim().slice(0, 40)}`, output.dataset.mimeType);
    }
  }
  return { count, weak: [...weak.entries()].map(([text, kind]) => `${text} (${kind})`) };
}
