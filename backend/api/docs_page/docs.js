// The description of the API as a page. All of it is set as text, never as markup.

const METHODS = ["get", "post", "put", "patch", "delete"];

function element(name, ...children) {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}

function table(rows) {
  return element("table", ...rows.map(([head, ...cells]) =>
    element("tr", element("th", element("code", head)), ...cells.map((cell) => element("td", cell)))));
}

// Follows a reference; one that leads back to where it came from stays a name.
function resolved(schema, all, seen = []) {
  const name = schema?.$ref?.split("/").at(-1);
  if (!name) return schema;
  return seen.includes(name) ? { type: name } : resolved(all[name], all, [...seen, name]);
}

function kind(schema, all, seen = []) {
  const name = schema?.$ref?.split("/").at(-1);
  if (name && seen.includes(name)) return name;
  const known = name ? [...seen, name] : seen;
  const { anyOf, type, items, enum: values, const: only, properties } = resolved(schema, all, seen) ?? {};
  if (anyOf) return anyOf.map((each) => kind(each, all, known)).join(" or ");
  if (values) return values.map((value) => JSON.stringify(value)).join(" | ");
  if (only !== undefined) return JSON.stringify(only);
  if (type === "array") return `[${kind(items, all, known)}]`;
  if (!properties) return type ?? "anything";
  const fields = Object.entries(properties).map(([field, inner]) => `${field}: ${kind(inner, all, known)}`);
  return `{${fields.join(", ")}}`;
}

function body(schema, all) {
  const { properties = {}, required = [] } = resolved(schema, all);
  return table(Object.entries(properties).map(([name, field]) => [
    name, kind(field, all), required.includes(name) ? "required" : "", field.description ?? ""]));
}

function response([status, { description, content = {} }], all) {
  const [[media, { schema } = {}] = []] = Object.entries(content);
  const shape = status < "400" && schema ? kind(schema, all) : "";
  return [status, description, element("code", [media, shape].filter(Boolean).join(" "))];
}

function operation(path, method, described, all) {
  const { summary, description = "", parameters = [], requestBody, responses } = described;
  const made = element("details",
    element("summary", element("code", `${method.toUpperCase()} ${path}`), ` ${summary ?? ""}`),
    element("p", description));
  if (parameters.length) {
    made.append(element("h4", "Parameters"), table(parameters.map((each) => [
      each.name, each.in, kind(each.schema, all), each.required ? "required" : "", each.description ?? ""])));
  }
  const sent = requestBody?.content["application/json"]?.schema;
  if (sent) made.append(element("h4", "Body"), body(sent, all));
  made.append(element("h4", "Answers"), table(Object.entries(responses).map((each) => response(each, all))));
  return made;
}

function show({ info, paths, components = {} }) {
  document.getElementById("summary").textContent = `${info.summary ?? ""} Version ${info.version}.`;
  const found = Object.entries(paths).flatMap(([path, operations]) =>
    METHODS.filter((method) => method in operations).map((method) =>
      operation(path, method, operations[method], components.schemas ?? {})));
  document.getElementById("operations").append(...found);
}

try {
  show(await (await fetch("/openapi.json")).json());
} catch (error) {
  document.getElementById("summary").textContent = `/openapi.json cannot be shown: ${error.message}`;
}
