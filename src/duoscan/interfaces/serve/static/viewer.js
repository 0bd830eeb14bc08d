// One stack of images on a canvas. The server windows and keeps the slices; here lie only a few around the one shown.
"use strict";

(() => {
  const AHEAD = 6;
  const HELD = 48;
  const WINDOWS = {
    ct: [["Lung", -600, 1500], ["Soft tissue", 40, 400], ["Bone", 400, 1800], ["Wide", 0, 2500]],
    cxr: [["Whole range", 50, 100], ["Dark half", 30, 60], ["Bright half", 70, 60]],
  };
  const caseId = document.body.dataset.case;

  class Viewer {
    constructor(pane) {
      this.pane = pane;
      this.stacks = JSON.parse(pane.dataset.stacks);
      if (!this.stacks.length) return;
      this.modality = pane.dataset.modality;
      this.find = (name) => pane.querySelector(`.${name}`);
      this.stage = this.find("stage");
      this.canvas = pane.querySelector("canvas");
      this.held = new Map();
      this.lines = new Map();
      this.measuring = false;
      const presets = this.find("window");
      for (const [number, [words]] of WINDOWS[this.modality].entries()) presets.add(new Option(words, number));
      presets.add(new Option("By hand", -1));
      presets.addEventListener("change", () => { if (presets.value >= 0) this.preset(Number(presets.value)); });
      this.find("stack")?.addEventListener("change", (event) => this.open(Number(event.target.value)));
      this.find("place").addEventListener("input", (event) => this.show(Number(event.target.value)));
      this.find("strength").addEventListener("input", () => this.draw());
      for (const name of ["invert", "cine", "measure", "heat", "reset"]) this.find(name).addEventListener("click", () => this.press(name));
      pane.addEventListener("hotkey", (event) => this.press(event.detail));
      pane.addEventListener("focusin", () => this.activate());
      this.listen();
      new ResizeObserver(() => this.draw()).observe(this.stage);
      this.isInverted = false;
      this.window = WINDOWS[this.modality][0].slice(1);
      this.open(0);
    }

    activate() {
      for (const one of document.querySelectorAll(".pane.active")) one.classList.remove("active");
      this.pane.classList.add("active");
    }

    open(number) {
      this.stack = this.stacks[number];
      const count = this.stack.images.length;
      this.find("place").max = count - 1;
      this.find("place").parentElement.hidden = this.find("cine").hidden = count === 1;
      this.fit();
      this.show(this.stack.first);
    }

    fit() { this.zoom = 1; this.shift = [0, 0]; }

    preset(number) {
      this.window = WINDOWS[this.modality][number].slice(1);
      this.find("window").value = number;
      this.show(this.at);
    }

    press(name) {
      const toggle = (button, is) => button.setAttribute("aria-pressed", String(is));
      if (name === "down") this.step(1);
      else if (name === "up") this.step(-1);
      else if (name === "invert") { this.isInverted = !this.isInverted; toggle(this.find("invert"), this.isInverted); this.show(this.at); }
      else if (name === "measure") { this.measuring = !this.measuring; toggle(this.find("measure"), this.measuring); }
      else if (name === "reset") { this.fit(); this.lines.clear(); this.isInverted = false; toggle(this.find("invert"), false); this.preset(0); }
      else if (name === "cine") {
        if (this.playing) { clearInterval(this.playing); this.playing = null; } else this.playing = setInterval(() => { if (this.isDrawn) this.step(1, true); }, 80);
        toggle(this.find("cine"), Boolean(this.playing));
      } else if (name === "heat") {
        this.isHot = !this.isHot;
        toggle(this.find("heat"), this.isHot);
        this.find("opacity").hidden = this.find("colours").hidden = !this.isHot;
        this.show(this.at);
      }
    }

    step(by, around = false) {
      const count = this.stack.images.length;
      const next = this.at + by;
      this.show(around ? (next + count) % count : Math.min(count - 1, Math.max(0, next)));
    }

    address(image) {
      const [c, w] = this.window.map((value) => Math.round(value * 10) / 10);
      return `/cases/${caseId}/images/${image.at}?c=${c}&w=${w}&i=${this.isInverted ? 1 : 0}`;
    }

    // A picture by its address; few are held, the longest unused go first.
    load(address) {
      let found = this.held.get(address);
      if (found) this.held.delete(address);
      else {
        found = new Image();
        found.src = address;
        found.ready = found.decode().catch(() => { found.failed = true; });
      }
      this.held.set(address, found);
      for (const [old, picture] of this.held) {
        if (this.held.size <= HELD) break;
        picture.src = "";
        this.held.delete(old);
      }
      return found;
    }

    async show(at) {
      this.at = at;
      this.isDrawn = false;
      const image = this.stack.images[at];
      this.find("place").value = at;
      this.find("place").setAttribute("aria-valuetext", `${at + 1} of ${this.stack.images.length}`);
      const grey = this.load(this.address(image));
      const heat = this.isHot && image.p !== null ? this.load(`/cases/${caseId}/heat/${image.at}`) : null;
      await Promise.all([grey.ready, heat?.ready]);
      if (this.at !== at) return;
      this.grey = grey.failed ? null : grey;
      this.heat = heat && !heat.failed ? heat : null;
      const count = this.stack.images.length > 1 ? `${at + 1} / ${this.stack.images.length}  ` : "";
      this.find("told").textContent = `${count}${image.name}\n${grey.failed ? "this image cannot be shown" : image.told}${image.carrying ? ", the answer rests on it" : ""}`;
      this.draw();
      this.isDrawn = true;
      if (!this.isDragging) for (let by = 1; by <= AHEAD; by++) {
        for (const near of [at + by, at - by]) if (this.stack.images[near]) this.load(this.address(this.stack.images[near]));
      }
    }

    // Pixels of the picture → places on the canvas.
    frame() {
      const spacing = this.stack.images[this.at].mm || [1, 1];
      const [width, height] = [this.grey.naturalWidth, this.grey.naturalHeight * (spacing[0] / spacing[1])];
      const scale = Math.min(this.canvas.width / width, this.canvas.height / height) * this.zoom;
      return { x: (this.canvas.width - width * scale) / 2 + this.shift[0], y: (this.canvas.height - height * scale) / 2 + this.shift[1], width: width * scale, height: height * scale };
    }

    draw() {
      const ratio = devicePixelRatio || 1;
      const [width, height] = [Math.round(this.stage.clientWidth * ratio), Math.round(this.stage.clientHeight * ratio)];
      if (this.canvas.width !== width || this.canvas.height !== height) { this.canvas.width = width; this.canvas.height = height; }
      const brush = this.canvas.getContext("2d");
      brush.clearRect(0, 0, width, height);
      if (!this.grey) return;
      const { x, y, width: w, height: h } = this.frame();
      brush.imageSmoothingQuality = "high";
      brush.drawImage(this.grey, x, y, w, h);
      if (this.heat) {
        brush.globalAlpha = this.find("strength").value / 100;
        brush.drawImage(this.heat, x, y, w, h);
        brush.globalAlpha = 1;
      }
      for (const line of this.lines.get(this.stack.images[this.at].at) || []) this.drawLine(brush, line, { x, y, w, h });
    }

    drawLine(brush, [a, b], { x, y, w, h }) {
      const place = ([u, v]) => [x + u * w, y + v * h];
      const [from, to] = [place(a), place(b)];
      brush.strokeStyle = brush.fillStyle = "#ffd24a";
      brush.lineWidth = 2;
      brush.beginPath();
      brush.moveTo(...from);
      brush.lineTo(...to);
      brush.stroke();
      brush.font = `${14 * (devicePixelRatio || 1)}px sans-serif`;
      brush.fillText(this.length(a, b), to[0] + 6, to[1] - 6);
    }

    length([u1, v1], [u2, v2]) {
      const image = this.stack.images[this.at];
      const across = (u2 - u1) * this.grey.naturalWidth, down = (v2 - v1) * this.grey.naturalHeight;
      // A picture larger than the server sends is reduced, so pixels of the file are not known here.
      if (!image.mm || Math.max(this.grey.naturalWidth, this.grey.naturalHeight) >= 2048) return `${Math.round(Math.hypot(across, down))} px`;
      return `${Math.hypot(across * image.mm[1], down * image.mm[0]).toFixed(1)} mm`;
    }

    listen() {
      let begun = null;
      const ratio = () => devicePixelRatio || 1;
      const part = (event) => {
        const { x, y, width, height } = this.frame(), box = this.stage.getBoundingClientRect();
        return [((event.clientX - box.left) * ratio() - x) / width, ((event.clientY - box.top) * ratio() - y) / height];
      };
      this.stage.addEventListener("pointerdown", (event) => {
        if (!this.grey) return;
        this.stage.setPointerCapture(event.pointerId);
        const kind = this.measuring ? "measure" : event.shiftKey || event.button === 1 ? "pan" : event.button === 2 || event.ctrlKey ? "zoom" : "window";
        begun = { kind, x: event.clientX, y: event.clientY, window: [...this.window], shift: [...this.shift], zoom: this.zoom, from: part(event) };
        this.isDragging = true;
      });
      this.stage.addEventListener("pointermove", (event) => {
        if (!begun) return;
        const [dx, dy] = [event.clientX - begun.x, event.clientY - begun.y];
        if (begun.kind === "pan") this.shift = [begun.shift[0] + dx * ratio(), begun.shift[1] + dy * ratio()];
        else if (begun.kind === "zoom") this.zoom = Math.min(20, Math.max(0.2, begun.zoom * Math.exp(-dy / 150)));
        else if (begun.kind === "measure") {
          const key = this.stack.images[this.at].at;
          this.lines.set(key, [...(this.lines.get(key) || []).filter((line) => line !== begun.line), begun.line = [begun.from, part(event)]]);
        } else if (Math.hypot(dx, dy) > 3) {
          const unit = this.modality === "ct" ? 4 : 0.25;
          this.window = [begun.window[0] - dy * unit, Math.max(unit, begun.window[1] + dx * unit)];
          this.find("window").value = -1;
          // One at a time, so that a slow server is not flooded.
          if (this.isDrawn) this.show(this.at);
          return;
        }
        this.draw();
      });
      const end = () => {
        if (begun?.kind === "window") this.show(this.at);
        begun = null;
        this.isDragging = false;
      };
      this.stage.addEventListener("pointerup", end);
      this.stage.addEventListener("pointercancel", end);
      this.stage.addEventListener("contextmenu", (event) => event.preventDefault());
      this.stage.addEventListener("wheel", (event) => {
        event.preventDefault();
        if (event.ctrlKey || this.stack.images.length === 1) { this.zoom = Math.min(20, Math.max(0.2, this.zoom * Math.exp(-event.deltaY / 400))); this.draw(); } else this.step(Math.sign(event.deltaY));
      }, { passive: false });
      this.stage.addEventListener("keydown", (event) => {
        const moves = {
          ArrowDown: () => this.step(1), ArrowUp: () => this.step(-1), PageDown: () => this.step(10), PageUp: () => this.step(-10),
          ArrowRight: () => this.step(1), ArrowLeft: () => this.step(-1), Home: () => this.show(0), End: () => this.show(this.stack.images.length - 1),
          "+": () => { this.zoom = Math.min(20, this.zoom * 1.2); this.draw(); }, "-": () => { this.zoom = Math.max(0.2, this.zoom / 1.2); this.draw(); },
        };
        if (moves[event.key]) { moves[event.key](); event.preventDefault(); }
      });
    }
  }

  for (const pane of document.querySelectorAll(".pane")) new Viewer(pane);
})();
