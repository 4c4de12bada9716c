// Runs before the page is drawn, so that neither a chosen theme nor the notice about charts flashes.
document.documentElement.classList.add("can-draw");
try {
  const chosen = localStorage.getItem("collapsar-theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch { /* storage may be closed to pages opened from disk */ }
