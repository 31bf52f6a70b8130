// The guide: copy buttons, tabs that agree, wide parts by keyboard, and the words that a search found.
{
  /** Adds a button to each block of code that copies it, without the prompts of a console. */
  const addCopyButtons = () => {
    for (const block of document.querySelectorAll(".code")) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "copy";
      button.textContent = "Copy";
      button.setAttribute("aria-label", "Copy this code");
      button.addEventListener("click", async () => {
        const text = block.querySelector("code").textContent;
        const commands = [...text.matchAll(/^\$ (.*)$/gm)].map(([, command]) => command);
        try {
          await navigator.clipboard.writeText(commands.length ? commands.join("\n") : text);
          button.textContent = "Copied";
        } catch {
          // Without a secure context there is no clipboard; then the selection can be copied.
          getSelection().selectAllChildren(block.querySelector("code"));
          button.textContent = "Selected";
        }
        setTimeout(() => (button.textContent = "Copy"), 1500);
      });
      block.append(button);
    }
  };

  const KEPT = "guide-tab";
  const kept = () => {
    try {
      return localStorage.getItem(KEPT);
    } catch {
      return null; // storage may be forbidden
    }
  };

  const choose = (value) => {
    for (const input of document.querySelectorAll(".tabs > label > input")) {
      if (input.value === value) input.checked = true;
    }
  };

  /** A tab chosen once is chosen in all groups, on later pages too. */
  const keepTabs = () => {
    choose(kept());
    document.addEventListener("change", ({ target }) => {
      if (!target.matches(".tabs > label > input")) return;
      const before = target.getBoundingClientRect().top;
      choose(target.value);
      scrollBy(0, target.getBoundingClientRect().top - before); // groups above may have grown
      try {
        localStorage.setItem(KEPT, target.value);
      } catch {
        // then it holds for this page
      }
    });
  };

  /** Lets the keyboard scroll what is wider than its place. */
  const reachWideParts = () => {
    for (const part of document.querySelectorAll(".wide, .code pre")) {
      const isWide = part.scrollWidth > part.clientWidth;
      if (isWide && !part.hasAttribute("tabindex")) {
        part.tabIndex = 0;
        part.setAttribute("role", "group");
        part.setAttribute("aria-label", part.matches("pre") ? "Code" : "Table");
      } else if (!isWide) {
        for (const name of ["tabindex", "role", "aria-label"]) part.removeAttribute(name);
      }
    }
  };

  /** Marks the words of the address' `?found=`, and changes nothing else. */
  const markFound = () => {
    const words = (new URLSearchParams(location.search).get("found") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length || !globalThis.CSS?.highlights) return;
    const highlight = new Highlight();
    const walker = document.createTreeWalker(document.querySelector(".text"), NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const text = walker.currentNode.data.toLowerCase();
      for (const word of words) {
        for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
          highlight.add(new StaticRange({ startContainer: walker.currentNode, startOffset: at, endContainer: walker.currentNode, endOffset: at + word.length }));
        }
      }
    }
    CSS.highlights.set("found", highlight);
  };

  /** A chosen entry closes the list that it is in, where lists open over the text. */
  const closeLists = () => {
    for (const list of document.querySelectorAll("#pages, #contents")) {
      list.addEventListener("click", ({ target }) => {
        if (target.matches("a") && list.matches(":popover-open")) list.hidePopover();
      });
    }
    document.querySelector("#pages [aria-current]")?.scrollIntoView({ block: "nearest" });
  };

  addCopyButtons();
  keepTabs();
  reachWideParts();
  addEventListener("resize", reachWideParts);
  markFound();
  closeLists();
}
