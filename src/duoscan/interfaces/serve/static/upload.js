// Files go one by one, each streamed to the disk; the upload is promised once the server said so.
"use strict";

(() => {
  const drop = document.getElementById("drop");
  if (!drop) return;
  const headers = { "X-CSRF-Token": document.querySelector('meta[name="csrf"]').content };
  const progress = document.getElementById("progress");
  const sent = document.getElementById("sent");

  async function ask(method, address, body, type) {
    const answer = await fetch(address, { method, body, headers: type ? { ...headers, "Content-Type": type } : headers });
    if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail || `refused (${answer.status})`);
    return answer.status === 204 ? null : answer.json();
  }

  async function again(method, address, body, type) {
    for (let wait = 500; ; wait *= 2) {
      try { return await ask(method, address, body, type); } catch (error) {
        if (!(error instanceof TypeError) || wait > 8000) throw error; // TypeError: the network
        await new Promise((go) => setTimeout(go, wait));
      }
    }
  }

  async function send(files) {
    files = files.filter(({ name }) => !name.split("/").pop().startsWith("."));
    if (!files.length) return;
    document.getElementById("sending").hidden = false;
    progress.max = files.reduce((sum, { file }) => sum + file.size, 0) || 1;
    progress.value = 0;
    try {
      const whose = new URLSearchParams({ patient: document.getElementById("whose").value });
      const upload = await ask("POST", "/api/v1/uploads", whose.toString(), "application/x-www-form-urlencoded");
      let next = 0;
      const lane = async () => {
        while (next < files.length) {
          const number = next++;
          const { name, file } = files[number];
          await again("PUT", `/api/v1/uploads/${upload.id}/files/${number}?${new URLSearchParams({ name })}`, file, "application/octet-stream");
          progress.value += file.size;
          sent.textContent = `${name} (${number + 1} of ${files.length})`;
        }
      };
      await Promise.all([lane(), lane(), lane()]);
      await again("POST", `/api/v1/uploads/${upload.id}/complete`);
      sent.textContent = `${files.length} received; cases appear below`;
      follow(upload.id);
    } catch (error) {
      sent.textContent = `Not received: ${error.message}. Nothing of it is kept; send it again.`;
    }
  }

  async function follow(upload) {
    for (let round = 0; round < 120; round++) {
      await new Promise((go) => setTimeout(go, 1000));
      const found = await ask("GET", `/api/v1/uploads/${upload}`).catch(() => null);
      if (found && ["split", "failed"].includes(found.state)) {
        sent.textContent = found.state === "failed" ? `Not sorted: ${found.remark}` : found.remark || "All in its case.";
        return;
      }
    }
  }

  function walk(entry, found) {
    return new Promise((done) => {
      if (entry.isFile) {
        entry.file((file) => { found.push({ name: entry.fullPath.replace(/^\//, ""), file }); done(); }, done);
        return;
      }
      const reader = entry.createReader();
      const more = () => reader.readEntries(async (entries) => {
        if (!entries.length) { done(); return; }
        for (const one of entries) await walk(one, found);
        more();
      }, done);
      more();
    });
  }

  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", async (event) => {
    event.preventDefault();
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
    const found = [];
    for (const entry of entries) await walk(entry, found);
    send(found);
  });
  for (const id of ["files", "folder"]) {
    document.getElementById(id).addEventListener("change", (event) => {
      send([...event.target.files].map((file) => ({ name: file.webkitRelativePath || file.name, file })));
      event.target.value = "";
    });
  }
})();
