// Lets names of tests break at underscores, so that their tables fit the page.
for (const code of document.querySelectorAll("table.docutils code")) {
  if (!code.textContent.includes("::")) continue;
  const parts = code.textContent.split(/(?<=[_/]|::)/);
  code.replaceChildren(...parts.flatMap((part) => [part, document.createElement("wbr")]));
}

// Names the columns of tables with three or four of them, which phones show as lists (site.css).
for (const table of document.querySelectorAll("table.docutils")) {
  const columns = [...table.querySelectorAll("thead th")].map((cell) => cell.textContent.trim());
  if (columns.length < 3 || columns.length > 4) continue;
  table.classList.add("stacked");
  for (const row of table.querySelectorAll("tbody tr")) {
    [...row.cells].forEach((cell, index) => {
      cell.dataset.column = columns[index] && `${columns[index]}: `;
      cell.classList.toggle("empty", !cell.textContent.trim());
    });
  }
}
