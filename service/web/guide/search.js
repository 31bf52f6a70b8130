// Search in all pages: the index comes once, with the first key; nothing leaves this page.
{
  const MOST = 12; // results
  const AROUND = 70; // characters on either side of the first match
  const input = document.getElementById("search");
  const list = document.getElementById("found");
  const status = document.getElementById("count");
  const indexUrl = new URL(input.dataset.index, document.baseURI);
  let sections = null;
  let results = [];
  let chosen = 0;

  const load = () => (sections ??= fetch(indexUrl).then((response) => response.json()).then(lowered));

  const lowered = (found) =>
    found.map((section) => ({
      ...section,
      inPage: section.page.toLowerCase(),
      inTitle: section.title.toLowerCase(),
      inText: section.text.toLowerCase(),
    }));

  const wordsOf = (query) => query.toLowerCase().split(/\s+/).filter(Boolean);

  /** The fit of a section: every word has to be in it; titles count more than the text. */
  function score(section, words) {
    let sum = 0;
    for (const word of words) {
      const title = section.inTitle.indexOf(word) >= 0 ? (section.inTitle === word ? 40 : 20) : 0;
      const page = section.inPage.indexOf(word) >= 0 ? 8 : 0;
      const times = section.inText.split(word).length - 1;
      if (!title && !page && !times) return 0;
      sum += title + page + Math.min(times, 6);
    }
    return sum;
  }

  /** The sections that fit best, the best first. */
  function find(all, words) {
    return all
      .map((section) => ({ section, rank: score(section, words) }))
      .filter(({ rank }) => rank > 0)
      .sort((a, b) => b.rank - a.rank)
      .map(({ section }) => section);
  }

  /** The text around its first match. */
  function excerpt({ text, inText }, words) {
    const places = words.map((word) => inText.indexOf(word)).filter((at) => at >= 0);
    const at = places.length ? Math.min(...places) : 0;
    const start = at > AROUND ? text.indexOf(" ", at - AROUND) + 1 : 0;
    const end = Math.min(text.length, at + 2 * AROUND);
    return `${start ? "… " : ""}${text.slice(start, end)}${end < text.length ? " …" : ""}`;
  }

  /** Puts a text into an element, its matches marked. */
  function fill(element, text, words) {
    const low = text.toLowerCase();
    let at = 0;
    while (at < text.length) {
      const next = words
        .map((word) => ({ word, place: low.indexOf(word, at) }))
        .filter(({ place }) => place >= 0)
        .sort((a, b) => a.place - b.place || b.word.length - a.word.length)[0];
      if (!next) break;
      const mark = document.createElement("mark");
      mark.textContent = text.slice(next.place, next.place + next.word.length);
      element.append(text.slice(at, next.place), mark);
      at = next.place + next.word.length;
    }
    element.append(text.slice(at));
    return element;
  }

  function choose(number) {
    chosen = number;
    [...list.children].forEach((item, at) => item.setAttribute("aria-selected", String(at === chosen)));
    const item = list.children[chosen];
    if (item) input.setAttribute("aria-activedescendant", item.id);
    else input.removeAttribute("aria-activedescendant");
    item?.scrollIntoView({ block: "nearest" });
  }

  function show(found, words) {
    results = found.slice(0, MOST);
    list.replaceChildren(
      ...results.map((section, number) => {
        const item = document.createElement("li");
        item.id = `found-${number}`;
        item.setAttribute("role", "option");
        const title = section.title === section.page ? section.page : `${section.page}: ${section.title}`;
        item.append(
          fill(document.createElement("strong"), title, words),
          fill(document.createElement("span"), excerpt(section, words), words),
        );
        item.addEventListener("pointerdown", (event) => event.preventDefault()); // the input keeps the focus
        item.addEventListener("click", () => open(number));
        return item;
      }),
    );
    expand(results.length > 0);
    status.className = "visually-hidden";
    status.textContent = words.length ? `${found.length} ${found.length === 1 ? "result" : "results"}` : "";
    choose(0);
  }

  function expand(isOpen) {
    list.hidden = !isOpen;
    input.setAttribute("aria-expanded", String(isOpen));
    if (!isOpen) input.removeAttribute("aria-activedescendant");
  }

  function open(number) {
    const target = new URL(results[number].address, indexUrl);
    target.searchParams.set("found", input.value.trim());
    location.assign(target);
    expand(false);
  }

  async function search() {
    const words = wordsOf(input.value);
    if (!words.length) {
      show([], words);
      return;
    }
    try {
      const all = await load();
      if (String(words) === String(wordsOf(input.value))) show(find(all, words), words);
    } catch {
      sections = null;
      status.className = "note";
      status.textContent = "The search needs the pages from a server; the index did not come.";
    }
  }

  const KEYS = {
    ArrowDown: () => choose((chosen + 1) % results.length),
    ArrowUp: () => choose((chosen + results.length - 1) % results.length),
    Enter: () => open(chosen),
    Escape: () => expand(false),
  };

  input.addEventListener("input", search);
  input.addEventListener("focus", () => {
    if (input.value) search();
  });
  input.addEventListener("blur", () => expand(false));
  input.addEventListener("keydown", (event) => {
    if (list.hidden || !Object.hasOwn(KEYS, event.key)) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  document.addEventListener("keydown", (event) => {
    const isShortcut = event.key === "/" || (event.key === "k" && (event.ctrlKey || event.metaKey));
    if (!isShortcut || event.target.matches("input, textarea, select")) return;
    event.preventDefault();
    input.focus();
    input.select();
  });
  input.closest("search").hidden = false;
}
