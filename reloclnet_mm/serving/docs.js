// Shows openapi.json: what each request takes, and the fields of what is answered.

function element(name, text, ...children) {
  const made = document.createElement(name);
  made.textContent = text;
  made.append(...children);
  return made;
}

function table(head, rows) {
  const line = (cells, kind) => element('tr', '', ...cells.map((cell) => element(kind, cell)));
  return element('table', '', line(head, 'th'), ...rows.map((row) => line(row, 'td')));
}

function typeOf(schema) {
  if (schema.$ref) return schema.$ref.split('/').at(-1);
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(' or ');
  if (schema.type === 'array') return `list of ${typeOf(schema.items)}`;
  return schema.type ?? '';
}

function limitsOf({ minimum, maximum, maxLength, default: initial }) {
  return [
    minimum !== undefined && `at least ${minimum}`,
    maximum !== undefined && `at most ${maximum}`,
    maxLength !== undefined && `at most ${maxLength} characters`,
    initial !== undefined && `default ${initial}`,
  ]
    .filter(Boolean)
    .join(', ');
}

function request(path, { description, parameters = [], responses }) {
  const answer = responses[200].content?.['application/json']?.schema ?? {};
  const kind = typeOf(answer) || Object.keys(responses[200].content ?? {}).join() || 'file';
  const rows = parameters.map((x) => [
    x.name,
    x.required ? `${typeOf(x.schema)}, required` : typeOf(x.schema),
    limitsOf(x.schema),
    x.description ?? '',
  ]);
  const section = element('section', '', element('code', `GET ${path}`));
  const refusals = Object.keys(responses).filter((status) => status !== '200');
  const refused = refusals.length ? ` Refusals: ${refusals.join(', ')}.` : '';
  section.append(element('p', description), element('p', `Answers: ${kind}.${refused}`));
  if (rows.length) section.append(table(['parameter', 'type', 'limits', 'meaning'], rows));
  return section;
}

function answer(name, { description, properties }) {
  const rows = Object.entries(properties).map(([key, schema]) => [
    key,
    typeOf(schema),
    schema.description ?? '',
  ]);
  const section = element('section', '', element('code', name), element('p', description));
  section.append(table(['field', 'type', 'meaning'], rows));
  return section;
}

const api = await (await fetch('/openapi.json')).json();
document
  .getElementById('requests')
  .append(...Object.entries(api.paths).map(([path, { get }]) => request(path, get)));
document
  .getElementById('answers')
  .append(...Object.entries(api.components.schemas).map(([name, schema]) => answer(name, schema)));
