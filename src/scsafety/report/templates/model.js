"use strict";
// Links that filter lead to the transcripts' own page; without a script they lead to the link to it.
(() => {
  const page = document.querySelector("#dialogues .go").getAttribute("href");
  for (const link of document.querySelectorAll("[data-filter]")) link.setAttribute("href", `${page}#${link.dataset.filter}`);
})();
