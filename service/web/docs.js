// The docs page: Swagger UI for the OpenAPI document of the service, adapted to long tensors and to
// operations with many errors.
//
// Swagger UI highlights 512 x 512 floats (5 MB of JSON) in 30 s or more and prints them plain in 4 s,
// during which the page does not respond. So it gets no text longer than LONG: of a long answer the
// two ends are shown and the whole is a file to download, and a curl command reads its body from a
// file. Chromium alone takes 12 s to paste 5 MB of rows into a text area, so a request longer than
// EDITABLE is kept outside of it, and its two ends are shown too.

const LONG = 16_000; // characters; some 100 ms of highlighting
const EDITABLE = 250_000; // characters that a text area takes without a delay
const HEAD = 2_400; // shown of a longer text: shape, dtype and the first rows,
const TAIL = 800; // then strategy, device, warnings and timing
const WIDTH = 88; // characters of a line of JSON
const JSON_TYPE = "application/json";
// Routes of the Open Inference Protocol for a version of a model are described at those of the model.
const VERSION = "/versions/{version}";
// What is open before anything was clicked, where that is not what Swagger UI has open. An address
// with a fragment opens the operation that it names.
const SHOWN = new Map([
  ["operations-tag/open inference protocol", false],
  ["operations/operations/matmul", location.hash.length < 2],
]);
const DOCUMENT = new URL("openapi.json", document.baseURI).href;

const isText = (type) => /json|text|xml/.test(type);

const size = (bytes) =>
  bytes < 2 ** 20 ? `${(bytes / 2 ** 10).toFixed(1)} KiB` : `${(bytes / 2 ** 20).toFixed(2)} MiB`;

/** Formats JSON with a row of numbers on each line; literals stay as they were sent (19.0, -0.0). */
function layOut(json) {
  const tokens = json.match(/"(?:[^"\\]|\\.)*"|[[\]{}:,]|[^\s[\]{}:,"]+|"/g) ?? [];
  let at = 0;
  const value = (indent) => {
    const open = tokens[at++];
    if (open !== "[" && open !== "{") return open;
    const close = open === "[" ? "]" : "}";
    const parts = [];
    let nested = open === "{";
    while (at < tokens.length && tokens[at] !== close) {
      nested ||= tokens[at] === "[" || tokens[at] === "{";
      let part = value(`${indent}  `);
      while (tokens[at] === ":") {
        at += 1;
        part += `: ${value(`${indent}  `)}`;
      }
      if (tokens[at] === ",") at += 1;
      parts.push(part);
    }
    at += 1;
    const line = open + parts.join(", ") + close;
    const short = line.length <= WIDTH && !line.includes("\n") && indent !== "";
    if (!nested || short) return line;
    const inner = parts.map((part) => `\n${indent}  ${part}`).join(",");
    return `${open}${inner}\n${indent}${close}`;
  };
  const values = [];
  while (at < tokens.length) values.push(value(""));
  return values.join(" ");
}

/** The two ends of a long text, cut between two numbers if it is a list of numbers. */
function ends(head, tail) {
  const left = head.match(/^[^]*[^\]}],/)?.[0] ?? head;
  const right = tail.match(/,(?!\s*[[{])[^]*$/)?.[0] ?? tail;
  // A comma far from the cut means one long string (base64), which stays one string.
  const numbers = head.length - left.length < 64 && tail.length - right.length < 64;
  return numbers ? `${left} … ${right}` : `${head} … ${tail}`;
}

/** A file name for a response of `url`, by its media type. */
function fileName(url, type) {
  const name = new URL(url, document.baseURI).pathname.split("/").pop() || "answer";
  if (/json/.test(type)) return `${name}.json`;
  return `${name}.${/^application\/x-(\w+)/.exec(type)?.[1] ?? (isText(type) ? "txt" : "bin")}`;
}

/** A plugin of Swagger UI that replaces the parts that would print a long text. */
function longTexts({ React }) {
  const h = React.createElement;

  // A blob URL keeps its bytes in memory until it is revoked, so it is revoked with its element.
  const Save = ({ blob, name }) => {
    const [href, setHref] = React.useState();
    React.useEffect(() => {
      const url = URL.createObjectURL(blob);
      setHref(url);
      return () => URL.revokeObjectURL(url);
    }, [blob]);
    return h("a", { href, download: name }, `Download ${name}`);
  };

  // `content` is the text of a short answer, or a Blob for a long or binary one (see shorten).
  const ResponseBody = ({ content, contentType = "", url, getComponent }) => {
    const HighlightCode = getComponent("HighlightCode", true);
    const blob = content instanceof Blob ? content : null;
    const [cut, setCut] = React.useState("");
    React.useEffect(() => {
      let current = true;
      setCut("");
      if (blob && isText(contentType)) {
        Promise.all([blob.slice(0, HEAD).text(), blob.slice(-TAIL).text()]).then(
          ([head, tail]) => current && setCut(ends(head, tail)),
        );
      }
      return () => {
        current = false;
      };
    }, [blob, contentType]);
    const json = /json/.test(contentType);
    const text = blob ? cut : String(content);
    const name = fileName(url, contentType);
    const note = blob && `${size(blob.size)}${text && ", shown here by its two ends"}.`;
    return h(
      "div",
      null,
      h("h5", null, "Response body"),
      blob && h("p", { className: "whole" }, note, h(Save, { blob, name })),
      text &&
        h(
          HighlightCode,
          { language: json ? "json" : null, fileName: name, downloadable: !blob, canCopy: !blob },
          json ? layOut(text) : text,
        ),
    );
  };

  const wrapCurl = (Curl) => (props) => {
    const body = props.request?.get("body");
    const long = typeof body === "string" && body.length > LONG ? body : null;
    const blob = React.useMemo(() => long && new Blob([long]), [long]);
    if (!blob) return h(Curl, props);
    return h(
      "div",
      null,
      h(Curl, { ...props, request: props.request.set("body", "@body.json") }),
      h(
        "p",
        { className: "whole" },
        `This command reads the request body, ${size(blob.size)}, from a file.`,
        h(Save, { blob, name: "body.json" }),
      ),
    );
  };

  const wrapEditor = (Editor) => (props) => {
    const { value, onChange, getComponent } = props;
    const long = typeof value === "string" && value.length > EDITABLE ? value : null;
    const blob = React.useMemo(() => long && new Blob([long]), [long]);
    const paste = (event) => {
      const text = event.clipboardData.getData("text");
      if (text.length <= EDITABLE) return;
      event.preventDefault();
      const { value: old, selectionStart, selectionEnd } = event.target;
      onChange(old.slice(0, selectionStart) + text + old.slice(selectionEnd));
    };
    if (!blob) return h("div", { onPasteCapture: paste }, h(Editor, props));
    const HighlightCode = getComponent("HighlightCode", true);
    return h(
      "div",
      null,
      h(
        "p",
        { className: "whole" },
        `${size(blob.size)}, sent as it is and shown here by its two ends.`,
        h(Save, { blob, name: "body.json" }),
        h("button", { className: "btn", onClick: () => onChange("") }, "Back to the example"),
      ),
      h(HighlightCode, { language: "json" }, layOut(ends(long.slice(0, HEAD), long.slice(-TAIL)))),
    );
  };

  const wrapHighlighter = (Highlighter, { getComponent }) => (props) => {
    const text = props.children;
    if (typeof text !== "string" || text.length <= LONG) return h(Highlighter, props);
    const Plain = getComponent("PlainTextViewer");
    return h(Plain, null, `${text.slice(0, HEAD)} …\n\n(${text.length} characters in all)`);
  };

  // Swagger UI writes a 3 x 3 example in 17 lines, and formats every example again on each render.
  const laidOut = new Map();
  function afterLoad() {
    const sample = this.fn.getSampleSchema;
    this.fn.getSampleSchema = (schema, type, ...rest) => {
      const text = sample(schema, type, ...rest);
      if (typeof text !== "string" || !/json/.test(type)) return text;
      if (!laidOut.has(text)) laidOut.set(text, layOut(text));
      return laidOut.get(text);
    };
  }

  return {
    afterLoad,
    components: { responseBody: ResponseBody },
    wrapComponents: {
      RequestBodyEditor: wrapEditor,
      SyntaxHighlighter: wrapHighlighter,
      curl: wrapCurl,
    },
  };
}

/** A plugin of Swagger UI that shows less of each operation, and the rest on demand. */
function shortOperations({ React }) {
  const h = React.createElement;

  // An error is one line until it is opened: ten examples would be longer than all the rest.
  const wrapResponse = (Response) => (props) => {
    const { code, response, getComponent } = props;
    const [open, setOpen] = React.useState(false);
    if (!/^[45]/.test(code)) return h(Response, props);
    const Markdown = getComponent("Markdown", true);
    const toggle = h(
      "button",
      { type: "button", className: "toggle", "aria-expanded": open, onClick: () => setOpen(!open) },
      code,
    );
    return h(
      React.Fragment,
      null,
      h(
        "tr",
        { className: "response error", "data-code": code },
        h("td", { className: "response-col_status" }, toggle),
        h(
          "td",
          { className: "response-col_description" },
          h(Markdown, { source: response.get("description") }),
        ),
      ),
      open && h(Response, { ...props, className: "opened", response: response.set("description", "") }),
    );
  };

  const wrapHeaders = (Headers) => (props) =>
    h(
      "details",
      { className: "answer-headers" },
      h("summary", null, `Headers: ${props.headers.keySeq().join(", ")}`),
      h(Headers, props),
    );

  // A field may stand in the body or in the query, and a JSON body has them all.
  const wrapParameters = (Parameters) => (props) => {
    const { operation, oas3Selectors, parameters, pathMethod } = props;
    const type = oas3Selectors.requestContentType(...pathMethod) ?? JSON_TYPE;
    if (!operation.get("requestBody") || type !== JSON_TYPE) return h(Parameters, props);
    const others = parameters.filter((each) => each.get("in") !== "query");
    return h(
      "div",
      { className: others.size ? "" : "without-parameters" },
      h(Parameters, { ...props, parameters: others }),
    );
  };

  const wrapOperation = (Operation) => (props) =>
    props.operation.get("path").includes(VERSION) ? null : h(Operation, props);

  const isShown =
    (original) =>
    (state, thing, otherwise) =>
      original(thing, SHOWN.get([...thing].join("/")) ?? otherwise);

  // The answer to an example of a request has its name.
  const selectAnswer = (original, system) => (payload) => {
    original(payload);
    const { name, pathMethod, contextType } = payload;
    if (contextType !== "requestBody") return;
    const place = ["paths", ...pathMethod, "responses"];
    const responses = system.specSelectors.specResolvedSubtree(place) ?? [];
    responses.forEach((response, code) => {
      if (response.getIn(["content", JSON_TYPE, "examples", name])) {
        original({ name, pathMethod, contextType: "responses", contextName: code });
      }
    });
  };

  return {
    statePlugins: {
      layout: { wrapSelectors: { isShown } },
      oas3: { wrapActions: { setActiveExamplesMember: selectAnswer } },
    },
    wrapComponents: {
      headers: wrapHeaders,
      operation: wrapOperation,
      parameters: wrapParameters,
      response: wrapResponse,
    },
  };
}

/** Stores a long answer as a Blob, which Swagger UI passes unchanged to ResponseBody. */
function shorten(response) {
  if (response.url === DOCUMENT) return response; // Swagger UI loads the document through this function too
  if (typeof response.text === "string" && response.text.length > LONG) {
    const type = response.headers["content-type"] ?? "";
    response.data = new Blob([response.text], { type });
    response.text = response.body = response.obj = undefined;
  }
  return response;
}

/** Selects the dark colours of Swagger UI if the system is dark, also after a change. */
function followColourScheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  dark.addEventListener("change", apply);
  apply();
}

followColourScheme();
window.SwaggerUIBundle({
  url: DOCUMENT,
  dom_id: "#swagger-ui",
  presets: [window.SwaggerUIBundle.presets.apis],
  plugins: [longTexts, shortOperations],
  responseInterceptor: shorten,
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  docExpansion: "list",
  filter: false,
  tryItOutEnabled: true,
  validatorUrl: null,
});
