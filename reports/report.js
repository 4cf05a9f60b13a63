"use strict";
(() => {
  const tools = document.querySelector(".tools");
  const rows = [...document.querySelectorAll(".overview tbody tr")];
  if (rows.length < 2) return;
  const find = document.getElementById("find");
  const kind = document.getElementById("kind");
  const shown = document.getElementById("shown");
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const update = () => {
    const wanted = find.value.trim().toLowerCase();
    let count = 0;
    rows.forEach((row, i) => {
      const kinds = row.dataset.kind.split(" ");
      const visible = texts[i].includes(wanted) && (!kind.value || kinds.includes(kind.value));
      row.hidden = !visible;
      const section = document.getElementById(row.dataset.for);
      if (section) section.hidden = !visible;
      count += visible;
    });
    shown.textContent = count === rows.length ? "" : `${count} of ${rows.length}`;
  };
  find.addEventListener("input", update);
  kind.addEventListener("change", update);
  tools.addEventListener("submit", (event) => event.preventDefault());
  tools.hidden = false;
})();
