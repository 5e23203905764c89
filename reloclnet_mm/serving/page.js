// The page: a query goes to the JSON interface, the hits become cards. What the server sends is
// put in as text only, never as HTML.

const byId = (id) => document.getElementById(id);
const copyOf = (id) => byId(id).content.cloneNode(true);

const page = {
  videos: [],
  chosen: new Set(), // numbers of videos; empty: all
  query: '',
  running: new AbortController(), // of the search that is shown
};

// ---- words and numbers

function clock(seconds) {
  const whole = Math.round(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const ss = String(s).padStart(2, '0');
  return h ? `${h}:${String(m).padStart(2, '0')}:${ss}` : `${m}:${ss}`;
}

const range = (start, end) => `${clock(start)} – ${clock(end)}`;

function percent(share) {
  const rounded = Math.round(share * 100);
  return share > 0 && rounded === 0 ? '< 1 %' : `${rounded} %`;
}

function spell(seconds) {
  const minutes = Math.round(seconds / 60);
  if (minutes < 1) return `${Math.round(seconds)} s`;
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const count = (number, noun) => `${number.toLocaleString('en')} ${noun}${number === 1 ? '' : 's'}`;

// ---- the server

async function ask(path, signal) {
  let response;
  try {
    response = await fetch(path, { signal });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Error('The server does not answer. Is it still running?');
  }
  const isJson = response.headers.get('content-type')?.startsWith('application/json');
  const answer = isJson ? await response.json() : {};
  if (!response.ok) throw new Error(answer.detail ?? `The server answered ${response.status}.`);
  return answer;
}

// ---- status and notices

function say(text, busy = false) {
  byId('status').textContent = text;
  byId('status').classList.toggle('busy', busy);
  byId('hits').setAttribute('aria-busy', busy);
}

function note(text, bad = false) {
  byId('notice').textContent = text;
  byId('notice').classList.toggle('bad', bad);
  byId('notice').hidden = !text;
}

// ---- search

// The address of the page and the request to the server name the query in the same way.
function parameters() {
  const chosen = [...page.chosen].sort((a, b) => a - b);
  return new URLSearchParams([['q', page.query], ...chosen.map((number) => ['video', number])]);
}

async function search() {
  page.running.abort();
  page.running = new AbortController();
  const { signal } = page.running;
  document.title = page.query ? `${page.query} – Find a moment` : 'Find a moment';
  note('');
  byId('intro').hidden = page.query !== '';
  if (!page.query) {
    byId('hits').replaceChildren();
    say('');
    return;
  }
  say('Searching …', true);
  try {
    show(await ask(`/api/search?${parameters()}`, signal), signal);
  } catch (error) {
    if (error.name === 'AbortError') return;
    byId('hits').replaceChildren();
    say('');
    note(error.message, true);
  }
}

function show(answer, signal) {
  const cards = answer.hits.map((hit) => card(hit));
  byId('hits').replaceChildren(...cards);
  if (cards.length) {
    const milliseconds = Math.max(1, Math.round(1000 * answer.seconds));
    say(`${count(cards.length, 'moment')} in ${milliseconds} ms`);
  } else {
    say(page.chosen.size ? 'No moment found. Search in all videos?' : 'No moment found.');
  }
  if (answer.notes.length) {
    note(answer.notes.join(' '));
  }
  drawTimelines(answer.hits, cards, signal);
}

function submit() {
  const query = byId('query').value.trim();
  if (!query) {
    page.query = '';
    search();
    note('Write a sentence first: what happens, or what is said.');
    byId('query').focus();
    return;
  }
  page.query = query;
  remember();
  search();
}

function remember() {
  const address = `/?${parameters()}`;
  if (address !== location.pathname + location.search) history.pushState(null, '', address);
}

function followAddress() {
  const asked = new URLSearchParams(location.search);
  page.query = (asked.get('q') ?? '').trim();
  const numbers = asked.getAll('video').map(Number);
  page.chosen = new Set(numbers.filter((number) => number in page.videos));
  byId('query').value = page.query;
  showChosen();
  search();
}

// ---- a hit

function card(hit) {
  const item = copyOf('hit').firstElementChild;
  const part = (name) => item.querySelector(`.${name}`);
  const video = page.videos[hit.number];
  const when = range(hit.start, hit.end);
  part('name').textContent = hit.video;
  part('time').textContent = when;
  part('score').textContent = percent(hit.score);
  part('text').textContent = hit.text || 'nothing is said here';
  part('text').classList.toggle('empty', !hit.text);

  const picture = part('picture');
  const verb = video.playable ? 'Play' : 'Read';
  picture.setAttribute('aria-label', `${verb} ${hit.video}, ${when}, score ${percent(hit.score)}. ${hit.text}`);
  picture.classList.toggle('silent', !video.playable);
  const image = picture.querySelector('img');
  if (video.has_pictures) {
    image.onerror = () => picture.classList.add('empty');
    const middle = ((hit.start + hit.end) / 2).toFixed(1);
    image.src = `/videos/${hit.number}/thumbnail?at=${middle}`;
  } else {
    picture.classList.add('empty');
  }
  part('summary').addEventListener('click', ({ target }) => {
    // Words can be selected, which ends in a click, too.
    if (picture.contains(target) || getSelection().isCollapsed) toggle(item, hit, video);
  });
  item.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && item.classList.contains('open')) {
      close(item);
      picture.focus();
    }
  });
  return item;
}

function close(item) {
  const player = item.querySelector('.player');
  const screen = player.querySelector('video');
  if (screen) {
    // Without a source it stops loading, too.
    screen.onerror = null;
    screen.removeAttribute('src');
    screen.load();
  }
  player.replaceChildren();
  player.hidden = true;
  item.classList.remove('open');
  item.querySelector('.picture').setAttribute('aria-expanded', 'false');
}

function toggle(item, hit, video) {
  const wasOpen = item.classList.contains('open');
  document.querySelectorAll('.hit.open').forEach(close);
  if (wasOpen) return;
  item.classList.add('open');
  item.querySelector('.picture').setAttribute('aria-expanded', 'true');
  const player = item.querySelector('.player');
  player.append(copyOf('player'));
  player.hidden = false;
  if (video.playable) {
    play(player, hit, video);
  } else {
    player.querySelector('video').remove();
    explain(player, 'There is only the text of this video in the index, nothing to play.', false);
  }
  showSaid(player, hit).catch((error) => explain(player, error.message));
  item.scrollIntoView({ block: 'nearest' });
}

function play(player, hit, video) {
  const screen = player.querySelector('video');
  const address = `/videos/${hit.number}/media`;
  screen.setAttribute('aria-label', `${hit.video}, ${range(hit.start, hit.end)}`);
  screen.onerror = async () => {
    try {
      await checkMedia(address);
      explain(player, `This browser cannot play the format of ${video.name}.`);
    } catch (error) {
      explain(player, error.message);
    }
  };
  screen.src = `${address}#t=${hit.start.toFixed(2)},${hit.end.toFixed(2)}`;
  screen.focus();
  // A browser may refuse to start by itself; the controls are there.
  screen.play().catch(() => {});
}

async function checkMedia(address) {
  const response = await fetch(address, { headers: { Range: 'bytes=0-0' } });
  if (!response.ok) throw new Error((await response.json()).detail);
}

function explain(player, text, bad = true) {
  const problem = player.querySelector('.player-problem');
  if (!problem) return; // closed in the meantime
  problem.textContent = text;
  problem.classList.toggle('bad', bad);
  problem.hidden = false;
}

// Sentences within half a minute of the moment; each is a button that plays from it.
async function showSaid(player, hit) {
  const around = 30;
  const sentences = await ask(`/api/videos/${hit.number}/sentences`);
  const near = sentences.filter(
    ({ start, end }) => end >= hit.start - around && start <= hit.end + around,
  );
  const rows = near.map((sentence) => saidRow(player, sentence, hit));
  const section = player.querySelector('.said');
  if (!rows.length || !section) return;
  section.hidden = false;
  const list = section.querySelector('ol');
  list.replaceChildren(...rows);
  const first = rows.find((row) => row.className === 'within');
  if (first) list.scrollTop = first.offsetTop - list.offsetTop - 40;
}

function saidRow(player, sentence, hit) {
  const row = document.createElement('li');
  const button = document.createElement('button');
  const [when, what] = [document.createElement('span'), document.createElement('span')];
  const screen = player.querySelector('video');
  row.className = sentence.start < hit.end && sentence.end > hit.start ? 'within' : '';
  button.type = 'button';
  button.disabled = !screen;
  when.className = 'when';
  when.textContent = clock(sentence.start);
  what.textContent = sentence.text;
  button.append(when, what);
  button.addEventListener('click', () => {
    screen.currentTime = sentence.start;
    screen.play().catch(() => {});
  });
  row.append(button);
  return row;
}

// ---- timelines

// One after the other, so that the next search does not wait for ten of them.
async function drawTimelines(hits, cards, signal) {
  for (const [place, hit] of hits.entries()) {
    const query = new URLSearchParams({ q: page.query, video: hit.number, at: (hit.start + hit.end) / 2 });
    try {
      draw(cards[place].querySelector('.timeline'), await ask(`/api/timeline?${query}`, signal), hit);
    } catch (error) {
      // Another search has begun, or the server says no: the cards are complete without.
      if (error.name !== 'AbortError') console.warn(error.message);
      return;
    }
  }
}

function draw(figure, timeline, hit) {
  const { start, clip_seconds: clip, begins, ends } = timeline;
  const length = begins.length * clip;
  const svg = figure.querySelector('svg');
  // A unit is a second; beginnings rise from the middle, ends hang from it.
  svg.setAttribute('viewBox', `0 -1.08 ${length} 2.16`);
  svg.querySelector('.begins').setAttribute('d', steps(begins, clip, -1));
  svg.querySelector('.ends').setAttribute('d', steps(ends, clip, 1));
  const moment = svg.querySelector('.moment');
  const box = { x: hit.start - start, width: hit.end - hit.start, y: -1.08, height: 2.16 };
  for (const [name, value] of Object.entries(box)) moment.setAttribute(name, value);
  const [first, last] = [peak(begins), peak(ends)];
  svg.setAttribute(
    'aria-label',
    `Most probable begin ${clock(start + first * clip)} (${percent(begins[first])}), ` +
      `most probable end ${clock(start + (last + 1) * clip)} (${percent(ends[last])})`,
  );
  figure.querySelector('.from').textContent = clock(start);
  figure.querySelector('.to').textContent = clock(start + length);
  figure.hidden = false;
}

const peak = (values) => values.indexOf(Math.max(...values));

function steps(values, clip, direction) {
  const highest = Math.max(...values) || 1;
  const bars = values.map((value, place) => {
    const height = (direction * value) / highest;
    return `M${place * clip} 0V${height}H${(place + 1) * clip}V0Z`;
  });
  return bars.join('');
}

// ---- filter by videos

function fillFilter() {
  byId('filter-list').replaceChildren(
    ...page.videos.map((video) => {
      const label = document.createElement('label');
      const box = document.createElement('input');
      const [name, duration] = [document.createElement('span'), document.createElement('span')];
      box.type = 'checkbox';
      box.value = video.number;
      name.className = 'name';
      name.textContent = name.title = video.name;
      duration.className = 'duration';
      duration.textContent = clock(video.duration);
      label.append(box, name, duration);
      return label;
    }),
  );
}

const boxes = () => [...byId('filter-list').querySelectorAll('input')];
const shownBoxes = () => boxes().filter((box) => !box.parentElement.hidden);

function showChosen() {
  for (const box of boxes()) box.checked = page.chosen.has(Number(box.value));
  const names = [...page.chosen].map((number) => page.videos[number].name);
  byId('filter-state').textContent =
    names.length === 0 ? 'all videos' : names.length === 1 ? names[0] : count(names.length, 'video');
}

let pending;
function choose(change) {
  change();
  showChosen();
  // Several changes in a row are one search.
  clearTimeout(pending);
  if (page.query) {
    pending = setTimeout(() => {
      remember();
      search();
    }, 300);
  }
}

function showNamesThatContain(text) {
  const wanted = text.trim().toLowerCase();
  for (const label of byId('filter-list').children) {
    label.hidden = !label.children[1].textContent.toLowerCase().includes(wanted);
  }
  byId('filter-none').hidden = shownBoxes().length > 0;
  setTabStop(shownBoxes()[0]);
}

// A thousand videos are one stop of the Tab key; arrow keys move among them.
function setTabStop(stop) {
  for (const box of boxes()) box.tabIndex = box === stop ? 0 : -1;
}

function moveInFilter(event) {
  const shown = shownBoxes();
  const here = shown.indexOf(event.target);
  const to = {
    ArrowDown: here + 1,
    ArrowRight: here + 1,
    ArrowUp: here - 1,
    ArrowLeft: here - 1,
    Home: 0,
    End: shown.length - 1,
  }[event.key];
  if (here < 0 || to === undefined || !shown[to]) return;
  event.preventDefault();
  setTabStop(shown[to]);
  shown[to].focus();
}

// ---- start

byId('search').addEventListener('submit', (event) => {
  event.preventDefault();
  submit();
});
byId('filter-text').addEventListener('input', (event) => showNamesThatContain(event.target.value));
byId('filter-list').addEventListener('keydown', moveInFilter);
byId('filter-list').addEventListener('change', ({ target }) => {
  setTabStop(target);
  choose(() => page.chosen[target.checked ? 'add' : 'delete'](Number(target.value)));
});
byId('filter-check').addEventListener('click', () =>
  choose(() => shownBoxes().forEach((box) => page.chosen.add(Number(box.value)))),
);
byId('filter-clear').addEventListener('click', () => choose(() => page.chosen.clear()));
window.addEventListener('popstate', followAddress);
document.addEventListener('keydown', (event) => {
  if (event.key !== '/' || event.target.matches('input')) return;
  event.preventDefault();
  byId('query').select();
});

try {
  page.videos = await ask('/api/videos');
  const seconds = page.videos.reduce((sum, video) => sum + video.duration, 0);
  const sentences = page.videos.reduce((sum, video) => sum + video.num_sentences, 0);
  byId('collection').textContent = [
    count(page.videos.length, 'video'),
    spell(seconds),
    count(sentences, 'sentence'),
  ].join(' · ');
  fillFilter();
  setTabStop(boxes()[0]);
  followAddress();
} catch (error) {
  note(error.message, true);
}
