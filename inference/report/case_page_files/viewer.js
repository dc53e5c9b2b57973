"use strict";
// Three linked planes of a CT with the outlines of its label map.
//
// The volume comes as two mosaics of axial slices (x towards left, y towards posterior; slices towards superior): tones of
// HU, and label values. Nothing is fetched.
(() => {
  const told = JSON.parse(document.getElementById("data").textContent);
  const [nx, ny, nz] = told.shape;
  // Of each plane: the axis it cuts, the axes to the right and down, whether down counts upwards, and the letters of its
  // left, right, top and bottom.
  const PLANES = {
    axial: { axis: 2, across: 0, down: 1, flip: false, letters: ["R", "L", "A", "P"] },
    coronal: { axis: 1, across: 0, down: 2, flip: true, letters: ["R", "L", "S", "I"] },
    sagittal: { axis: 0, across: 1, down: 2, flip: true, letters: ["A", "P", "S", "I"] },
  };
  const WINDOWS = { "soft tissue, -160 to 240 HU": [-160, 240], "bone, -500 to 1500 HU": [-500, 1500], "wide, -1000 to 600 HU": [-1000, 600] };
  const at = (x, y, z) => x + nx * (y + ny * z);
  const organs = new Map(told.organs.map((organ) => [organ.value, { ...organ, shown: true }]));
  const position = told.start.slice();
  let volume, labels, tones;

  function unpacked(id) {
    const image = document.getElementById(id);
    const slice = document.createElement("canvas");
    slice.width = nx;
    slice.height = ny;
    const context = slice.getContext("2d", { willReadFrequently: true });
    const values = new Uint8Array(nx * ny * nz);
    for (let z = 0; z < nz; z++) {
      context.drawImage(image, -(z % told.columns) * nx, -Math.floor(z / told.columns) * ny);
      const pixels = context.getImageData(0, 0, nx, ny).data;
      for (let i = 0, to = at(0, 0, z); i < nx * ny; i++) values[to + i] = pixels[4 * i];
    }
    image.remove();
    return values;
  }

  function useWindow([low, high]) {
    const { tone, hu } = told.tones;
    tones = new Uint8ClampedArray(256);
    for (let t = 0, part = 0; t < 256; t++) {
      while (part < tone.length - 2 && t > tone[part + 1]) part++;
      const share = (t - tone[part]) / (tone[part + 1] - tone[part]);
      const value = hu[part] + share * (hu[part + 1] - hu[part]);
      tones[t] = (255 * (value - low)) / (high - low);
    }
  }

  // Index in the volume of a picture's pixel (column, row).
  function indexer({ axis, across, down, flip }) {
    const index = [0, 0, 0];
    const rows = told.shape[down];
    index[axis] = position[axis];
    return (column, row) => {
      index[across] = column;
      index[down] = flip ? rows - 1 - row : row;
      return at(index[0], index[1], index[2]);
    };
  }

  function draw(name) {
    const plane = PLANES[name];
    const canvas = document.getElementById(name);
    const columns = told.shape[plane.across], rows = told.shape[plane.down];
    const wide = columns * told.spacing[plane.across], high = rows * told.spacing[plane.down];
    // Sharp on any screen, without more pixels than it has.
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * (window.devicePixelRatio || 1)));
    canvas.height = Math.max(1, Math.round((canvas.width * high) / wide));
    const context = canvas.getContext("2d");
    const place = indexer(plane);
    const pixels = new ImageData(columns, rows);
    for (let row = 0, i = 0; row < rows; row++)
      for (let column = 0; column < columns; column++, i += 4) {
        pixels.data[i] = pixels.data[i + 1] = pixels.data[i + 2] = tones[volume[place(column, row)]];
        pixels.data[i + 3] = 255;
      }
    const flat = document.createElement("canvas");
    flat.width = columns;
    flat.height = rows;
    flat.getContext("2d").putImageData(pixels, 0, 0);
    context.drawImage(flat, 0, 0, canvas.width, canvas.height);
    const scale = [canvas.width / columns, canvas.height / rows];
    const seen = outline(context, place, columns, rows, scale);
    if (document.getElementById("cross").checked) cross(context, plane, rows, scale);
    letter(context, plane.letters);
    tell(name, plane, canvas, seen);
  }

  // Draw the borders of the label map's voxels, and return the names of the organs that were drawn.
  function outline(context, place, columns, rows, [right, down]) {
    if (!document.getElementById("contours").checked) return [];
    const paths = new Map();
    const add = (value, x0, y0, x1, y1) => {
      const organ = organs.get(value);
      if (!organ || !organ.shown) return;
      if (!paths.has(value)) paths.set(value, new Path2D());
      const path = paths.get(value);
      path.moveTo(x0 * right, y0 * down);
      path.lineTo(x1 * right, y1 * down);
    };
    const value = (column, row) => (column < 0 || row < 0 || column >= columns || row >= rows ? 0 : labels[place(column, row)]);
    for (let row = -1; row < rows; row++)
      for (let column = -1; column < columns; column++) {
        const here = value(column, row), beside = value(column + 1, row), below = value(column, row + 1);
        if (here !== beside) for (const one of [here, beside]) add(one, column + 1, row, column + 1, row + 1);
        if (here !== below) for (const one of [here, below]) add(one, column, row + 1, column + 1, row + 1);
      }
    context.lineWidth = 2 * (window.devicePixelRatio || 1);
    for (const [one, path] of paths) {
      context.strokeStyle = organs.get(one).color;
      context.stroke(path);
    }
    return told.organs.filter((organ) => paths.has(organ.value)).map((organ) => organ.name);
  }

  function cross(context, plane, rows, [right, down]) {
    const x = (position[plane.across] + 0.5) * right;
    const row = plane.flip ? rows - 1 - position[plane.down] : position[plane.down];
    const y = (row + 0.5) * down;
    context.strokeStyle = "rgba(255, 255, 255, 0.35)";
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(x, 0);
    context.lineTo(x, context.canvas.height);
    context.moveTo(0, y);
    context.lineTo(context.canvas.width, y);
    context.stroke();
  }

  function letter(context, [left, right, top, bottom]) {
    const { width, height } = context.canvas;
    const size = Math.max(12, width / 28);
    context.font = `bold ${size}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    context.lineWidth = size / 5;
    context.strokeStyle = "#000";
    context.fillStyle = "#e8ecf0";
    for (const [text, x, y, align] of [
      [left, size / 2, height / 2, "left"], [right, width - size / 2, height / 2, "right"],
      [top, width / 2, size, "center"], [bottom, width / 2, height - size, "center"],
    ]) {
      context.textAlign = align;
      context.strokeText(text, x, y);
      context.fillText(text, x, y);
    }
  }

  function tell(name, { axis }, canvas, seen) {
    const millimetres = told.origin[axis] + position[axis] * told.spacing[axis];
    const text = `${name}, ${"xyz"[axis]} = ${millimetres.toFixed(1)} mm (LPS)` + (seen.length ? `: ${seen.join(", ")}` : "");
    document.getElementById(`${name}-told`).textContent = text;
    document.getElementById(`${name}-slice`).value = position[axis];
    canvas.setAttribute("aria-label", text);
    canvas.setAttribute("role", "img");
  }

  function move(axis, index) {
    position[axis] = Math.min(told.shape[axis] - 1, Math.max(0, Math.round(index)));
  }

  const drawAll = () => Object.keys(PLANES).forEach(draw);

  function listen(name) {
    const plane = PLANES[name];
    const canvas = document.getElementById(name), bar = document.getElementById(`${name}-slice`);
    bar.max = told.shape[plane.axis] - 1;
    bar.addEventListener("input", () => { move(plane.axis, Number(bar.value)); drawAll(); });
    const go = (event) => {
      const box = canvas.getBoundingClientRect();
      const column = ((event.clientX - box.left) / box.width) * told.shape[plane.across] - 0.5;
      const row = ((event.clientY - box.top) / box.height) * told.shape[plane.down] - 0.5;
      move(plane.across, column);
      move(plane.down, plane.flip ? told.shape[plane.down] - 1 - row : row);
      drawAll();
    };
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); go(event); });
    canvas.addEventListener("pointermove", (event) => { if (event.buttons & 1) go(event); });
    const step = (by) => { move(plane.axis, position[plane.axis] + by); drawAll(); };
    canvas.addEventListener("wheel", (event) => { event.preventDefault(); step(event.deltaY < 0 ? 1 : -1); }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const by = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 5, PageDown: -5 }[event.key];
      if (by) { event.preventDefault(); step(by); }
    });
  }

  function listenToOrgans() {
    for (const box of document.querySelectorAll("input[data-organ]"))
      box.addEventListener("change", () => { organs.get(Number(box.dataset.organ)).shown = box.checked; drawAll(); });
    for (const button of document.querySelectorAll("button[data-organ]"))
      button.addEventListener("click", () => {
        organs.get(Number(button.dataset.organ)).centre.forEach((index, axis) => move(axis, index));
        drawAll();
      });
  }

  async function start() {
    await Promise.all(["image", "labels"].map((id) => document.getElementById(id).decode()));
    volume = unpacked("image");
    labels = unpacked("labels");
    document.getElementById("viewer").hidden = false;
    const choice = document.getElementById("window");
    for (const name of Object.keys(WINDOWS)) choice.add(new Option(name, name));
    choice.addEventListener("change", () => { useWindow(WINDOWS[choice.value]); drawAll(); });
    useWindow(Object.values(WINDOWS)[0]);
    Object.keys(PLANES).forEach(listen);
    listenToOrgans();
    for (const id of ["cross", "contours"]) document.getElementById(id).addEventListener("change", drawAll);
    window.addEventListener("resize", drawAll);
    drawAll();
    document.body.dataset.ready = "yes";
  }

  start().catch((error) => {
    const note = document.createElement("p");
    note.className = "warnings";
    note.textContent = `The CT cannot be shown here (${error.message}); preview.png beside this page shows it.`;
    document.querySelector("main").prepend(note);
    document.body.dataset.ready = "failed";
  });
})();
