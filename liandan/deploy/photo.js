// `element`, `props` and `server` are Gradio's: this component, its words, and the functions of page.py.
const input = element.querySelector("input");
const drop = element.querySelector(".ld-drop");
const picture = element.querySelector("img");
const found = element.querySelector(".ld-found");
let latest = 0;

const tell = (text, kind) => {
  const line = document.createElement("p");
  line.className = kind;
  line.textContent = text;
  found.replaceChildren(line);
};

const show = async (file) => {
  const mine = ++latest; // an answer that a newer photo has overtaken is thrown away
  if (picture.src) URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(file);
  picture.hidden = false;
  drop.classList.add("ld-full");
  element.querySelector(".ld-ask").hidden = true;
  element.querySelector(".ld-again").hidden = false;
  if (file.size > props.most) return tell(props.large, "ld-refused");
  tell(props.looking, "ld-hint");
  const seen = await server.predict({ binary: true, data: { photo: file } });
  if (mine !== latest) return;
  if (!seen) return tell(props.unreachable, "ld-refused");
  found.innerHTML = seen.html; // escaped by page.py
  if (!seen.explain) return;
  const looked = await server.explain({ binary: true, data: { photo: file, label: seen.explain } });
  const place = found.querySelector(".ld-heat");
  if (mine === latest && place) place.innerHTML = looked ? looked.html : "";
};

picture.addEventListener("error", () => { picture.hidden = true; }); // what the browser cannot draw, the server is asked about all the same
input.addEventListener("change", () => {
  if (input.files.length) show(input.files[0]);
  input.value = ""; // the same photo may be chosen again
});
for (const kind of ["dragenter", "dragover"]) {
  drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("ld-over"); });
}
for (const kind of ["dragleave", "drop"]) {
  drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.remove("ld-over"); });
}
drop.addEventListener("drop", (event) => { if (event.dataTransfer.files.length) show(event.dataTransfer.files[0]); });
document.addEventListener("paste", (event) => { if (event.clipboardData.files.length) show(event.clipboardData.files[0]); });
