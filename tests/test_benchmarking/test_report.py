"""The report: whole, escaped, without anything from outside."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from reloclnet_mm.benchmarking.answers import Answers, answers_of
from reloclnet_mm.benchmarking.entries import Entry, Row
from reloclnet_mm.benchmarking.report import html, markdown, quantity, recall_cell, write_report
from reloclnet_mm.benchmarking.results import difference_between, summarize
from reloclnet_mm.benchmarking.rows import Record

EVIL = '<script>alert("$1$")</script> & "quotes"'
MACHINE = dict(cpu='C', cores=2, threads=1, instructions='AVX2', device='CPU', torch='2')
VOID = {'meta', 'br', 'link', 'img', 'path', 'use', 'image'}


class Page(HTMLParser):
    """Notes tags, attributes and texts; tags have to close in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID or tag in ('path', 'use', 'image'):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data.strip())


@pytest.fixture(scope='module')
def report(evaluated, reference, tmp_path_factory):
    """Files of a report of three rows, with texts that would run if they were not escaped."""
    folder = tmp_path_factory.mktemp('report')
    queries = tuple(replace(x, text=EVIL) for x in reference.queries)
    reference = replace(reference, queries=queries, video_names=(EVIL, *reference.video_names[1:]))
    record, arrays = evaluated
    own = answers_of(arrays, record['limits'], reference, reference, 'row')
    shuffled = {
        task: replace(x, videos=x.videos[::-1], moments=None if task == 'VR' else x.moments[::-1])
        for task, x in own.tasks.items()
    }
    rows = [
        Row(EVIL, (Entry(Path('a.py'), Path('a.pth')), Entry(Path('a.py'), Path('b.pth')))),
        Row('grounding', (Entry(Path('drn.py'), Path('drn.pth')),)),
        Row('lists', (Entry(Path('lists.json')),)),
    ]
    svmr = Answers(dict(SVMR=replace(own.tasks['SVMR'], limit=6)), ('A note.',))
    metrics = dict(record['metrics'], **{'mAP/all': 12.345})
    records = [
        Record('', {}, metrics, record['costs'] | dict(cpu_share=share), MACHINE)
        for share in (0.5, 1)
    ]
    records.append(Record('', {}, {}, dict(parameters=1e6), MACHINE))
    entries = [entry for row in rows for entry in row.entries]
    answers = dict(zip(entries, [own, own, svmr, Answers(shuffled)], strict=True))
    results = summarize(
        rows, answers.__getitem__, dict(zip(entries, records, strict=False)), reference
    )
    made = dict(command=f'tools/benchmark.py {EVIL}', version='1', machine=MACHINE)
    paths = write_report(dict(results, made=made), folder)
    return {path.suffix[1:]: path.read_text() for path in paths}


def summary_of(evaluated, reference):
    """The results of one row."""
    record, arrays = evaluated
    entry = Entry(Path('a.py'), Path('a.pth'))
    answers = answers_of(arrays, record['limits'], reference, reference, 'row')
    records = {entry: Record(signature='', **record)}
    return summarize([Row('a', (entry,))], lambda entry: answers, records, reference)


@pytest.fixture(scope='module')
def results(report):
    return json.loads(report['json'])


def test_json_holds_all_rows_recalls_and_pairs(results):
    assert [row['name'] for row in results['rows']] == [EVIL, 'grounding', 'lists']
    first, grounding, lists = results['rows']
    assert len(first['recalls']) == len(lists['recalls']) == 13
    assert sorted(grounding['recalls']) == [
        f'SVMR/R{k}@{iou}' for k in (1, 5) for iou in (0.5, 0.7)
    ]
    assert first['recalls']['VR/R1']['sd'] == 0
    assert first['other']['mAP/all'] == pytest.approx(12.345)
    tasks = ('VR/', 'SVMR/', 'VCMR/')
    assert {name.rpartition('/')[2] for name in first['other'] if name.startswith(tasks)} == {
        'SumR',
        'R1@0.5+0.7',
    }
    assert (lists['costs'], lists['other']) == ({}, {})
    pairs = {(x['a'], x['b']) for x in results['significance'] if x['measure'] == 'SVMR/R1@0.5'}
    assert pairs == {(EVIL, 'grounding'), (EVIL, 'lists'), ('grounding', 'lists')}
    assert set(results['best'].values()) == {None}  # of eight queries nothing is significant


def test_notes_say_what_a_reader_has_to_know(results):
    first, grounding, _ = (row['notes'] for row in results['rows'])
    assert 'got less than 80% of a core' in first[0]
    assert first[1] == 'Mean ± standard deviation of 2 trainings.'
    assert grounding == [
        'It does not answer VR and VCMR.',
        'Its lists end after so many answers: SVMR 6. Recalls beyond are unknown.',
        'A note.',
    ]


def test_only_recalls_that_the_report_computes_are_not_among_the_other_metrics(
    evaluated, reference
):
    record, arrays = evaluated
    others = {'SVMR/full/R1@0.5': 1.0, 'VCMR/R1@0.3': 2.0, 'VR/R20': 3.0, 'VR/t/R20': 4.0}
    computed = {'SVMR/R1@0.5': 5.0, 'VR/R100': 6.0, 'VR/t/R100': 7.0, 'VCMR/v/R5@0.7': 8.0}
    found = summary_of((dict(record, metrics=others | computed), arrays), reference)
    assert found['rows'][0]['other'] == others


def test_queries_of_one_video_have_a_dash_for_an_interval_and_no_bars(evaluated, reference):
    record, arrays = evaluated
    chosen = reference.clusters == reference.clusters[0]
    queries = tuple(x for x, own in zip(reference.queries, chosen, strict=True) if own)
    few = replace(reference, queries=queries)
    own = {name: x[chosen] for name, x in arrays.items()}
    found = summary_of((record, own), few)
    recall = found['rows'][0]['recalls']['VR/R1']
    assert (recall['low'], recall['high']) == (None, None)
    cells = found['breakdowns'][0]['recalls']['VR R@1']['a']
    assert {error for _, error in filter(None, cells)} == {None}
    assert 'NaN' not in json.dumps(found)
    made = dict(command='', version='1', machine=MACHINE)
    assert f'{recall["value"]:.2f} (–)' in markdown(dict(found, made=made))
    Page(html(dict(found, made=made)))


def test_a_report_made_from_python_shows_no_command(evaluated, reference):
    found = summary_of(evaluated, reference)
    found['protocol'] |= dict(confidence=0.9, significant=0.01)
    made = dict(command=None, version='1', machine=MACHINE)
    page, text = html(dict(found, made=made)), markdown(dict(found, made=made))
    assert '<pre>' not in page
    assert '```' not in text
    assert 'with 90% intervals. Bold: better than the next, p < 0.01.' in text


def test_the_difference_of_two_rows_has_the_sign_of_their_order():
    pairs = [dict(measure='VR/R1', a='x', b='y', difference=1.25, p_holm=0.5)]
    assert difference_between('VR/R1', 'x', 'y', pairs) == (1.25, 0.5)
    assert difference_between('VR/R1', 'y', 'x', pairs) == (-1.25, 0.5)
    pairs[0]['difference'] = 0.0
    assert f'{difference_between("VR/R1", "y", "x", pairs)[0]:+}' == '+0.0'


def test_what_the_data_do_not_allow_is_a_note_on_the_data_and_not_on_a_row(evaluated, reference):
    assert summary_of(evaluated, reference)['data']['notes'] == []
    first, *others = reference.queries
    truth = first.truth._replace(
        video_ids=np.array([0, 1]), moments=np.repeat(first.truth.moments, 2, 0)
    )
    queries = (replace(first, own_video=None, truth=truth), *others)
    found = summary_of(evaluated, replace(reference, queries=queries))
    no_svmr, no_sizes = found['data']['notes']
    assert 'SVMR is left out of all rows' in no_svmr
    assert 'Recall by size of the corpus is left out' in no_sizes
    assert not any('does not answer' in note for note in found['rows'][0]['notes'])
    made = dict(command='', version='1', machine=MACHINE)
    for text in (markdown(dict(found, made=made)), html(dict(found, made=made))):
        assert no_svmr in text
        assert no_sizes in text


def test_the_page_is_whole_and_its_texts_are_escaped(report):
    page = Page(report['html'])
    assert 'script' not in page.tags
    assert EVIL in page.texts
    assert f'“{EVIL}”' in page.texts


def test_the_page_needs_nothing_from_outside(report):
    page = Page(report['html'])
    links = [value for name, value in page.attributes if name in ('src', 'href', 'xlink:href')]
    assert all(value.startswith('#') for value in links)
    assert not re.search(r'url\((?!#)', report['html'])
    assert '@import' not in report['html']
    assert not {'script', 'link', 'img', 'iframe', 'object'} & set(page.tags)


def test_ids_of_the_figures_do_not_clash(report):
    page = Page(report['html'])
    clips = re.findall(r'<clipPath id="(\w+)"', report['html'])
    assert len(clips) > 5
    assert len(set(clips)) == len(clips)
    assert set(re.findall(r'url\(#(\w+)\)', report['html'])) <= set(clips)
    assert page.tags.count('svg') >= 3 + 3 + 9 + 1


def test_every_recall_is_in_the_page_and_in_markdown(report, results):
    page = Page(report['html'])
    for row in results['rows']:
        for measure in results['measures']:
            if measure['top_k'] in (1, 10, 100) and measure['name'] in row['recalls']:
                text = recall_cell(row, measure['name'])
                assert text in page.texts
                assert text in report['md']
    assert 'A note.' in report['md']
    assert '<script>' not in report['md'].partition('```')[0]


def test_cells_that_a_row_does_not_serve_are_empty(report):
    line = next(x for x in report['md'].splitlines() if x.startswith('| grounding'))
    assert {cell.strip() for cell in line.split('|')[2:-1]} == {''}  # the table of VR is first


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        (None, ''),
        (0, '0'),
        (0.1234, '0.123'),
        (999.6, '1,000'),
        (1234.5, '1,234'),
        (9_996, '10 k'),
        (16_870, '16.9 k'),
        (999_950, '1 M'),
        (999.6e9, '1 T'),
        (1_600_526, '1.6 M'),
        (49.9e9, '49.9 G'),
    ],
)
def test_quantities_have_three_digits(value, text):
    assert quantity(value) == text


def test_ranks_are_numbers_of_python(results):
    ranks = [x['ranks'] for q in results['differences']['queries'] for x in q['answers']]
    assert ranks
    assert not any(isinstance(rank, np.integer) for one in ranks for rank in one.values())
