// Refresh the page in place; without an answer, show a notice.
const EVERY = 5000;
const here = location.pathname;
history.replaceState(null, "", here);

async function renew() {
  const stale = document.getElementById("stale");
  try {
    const answer = await fetch(here);
    if (!answer.ok) throw new Error(answer.statusText);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.querySelector("main").replaceWith(fresh.querySelector("main"));
    document.title = fresh.title;
    stale.hidden = true;
  } catch {
    stale.hidden = false;
  }
  setTimeout(renew, EVERY);
}

setTimeout(renew, EVERY);
