"""Recall against cost: rows become lines, and what is drawn and written is what the report has."""

import json

import pytest
from tool_processes import load_tool, run_here


@pytest.fixture(scope='module')
def tool():
    return load_tool('analysis_tools/plot_efficiency')


def row(name, passes, recall, **costs):
    recalls = {x: dict(value=recall) for x in ('VR/R1', 'VCMR/R1@0.5', 'VCMR/R1@0.7')}
    recalls['VCMR/R1@0.5']['sd'] = 0.25
    known = dict(
        passes_per_query=passes,
        latency_p50_ms=5.0 + 2 * passes,
        latency_p99_ms=20.0,
        flops_per_query=1e6 * (1 + passes),
        flops_per_video=2e6,
        videos_per_s=50.0,
        index_bytes_per_hour=3e6,
        peak_memory_mb=700.0,
    )
    return dict(name=name, recalls=recalls, costs=known | costs, notes=[])


ROWS = [
    row('A', 0, 10.0),
    row('A + C, top 10', 10, 30.0),
    row('A + C, top 5', 5, 20.0),
    row('B', 0, 11.0),
    dict(name='a file', recalls={}, costs={}),
]
REPORT = dict(data=dict(videos=100, hours=4.0, queries=7), rows=ROWS)


@pytest.fixture
def report(tmp_path):
    path = tmp_path / 'report.json'
    path.write_text(json.dumps(REPORT))
    return path


def test_rows_are_lines_by_first_stage_and_number_of_videos(tool, report):
    lines = tool.lines_of(tool.read_json(report, tool.Report).rows)
    assert [(x.name, x.first, [row.name for row in x.rows]) for x in lines] == [
        ('A', 'A', ['A']),
        ('A + C', 'A', ['A + C, top 5', 'A + C, top 10']),
        ('B', 'B', ['B']),
    ]


def test_the_table_has_the_corpus_for_what_is_computed_before_queries(tool, report, tmp_path):
    run_here(tmp_path, 'analysis_tools/plot_efficiency', report, '--table', 'table.md')
    lines = (tmp_path / 'table.md').read_text().splitlines()
    table = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines]
    cells = dict(zip(table[0], table[3], strict=True))
    assert cells == {
        '': 'A + C, top 5',
        'passes a query': '5',
        'VR R@1': '20.00',
        'VCMR R@1 IoU 0.5': '20.00 ± 0.25',
        'VCMR R@1 IoU 0.7': '20.00',
        'query p50, ms': '15.0',
        'p99, ms': '20.0',
        'FLOPs a query': '6 M',
        'peak memory, MB': '700',
        'index, MB': '12',
        'index, s': '2',
        'index, FLOPs': '200 M',
    }
    assert (tmp_path / 'efficiency.png').read_bytes().startswith(b'\x89PNG')


def test_points_are_recalls_at_their_costs(tool, report):
    figure = tool.draw(tool.lines_of(tool.read_json(report, tool.Report).rows))
    latency, _, flops, _ = figure.axes
    for panel, at in ((latency, [15.0, 25.0]), (flops, [6e6, 11e6])):
        drawn = {box.get_label(): box[0].get_xydata().tolist() for box in panel.containers}
        assert drawn['A + C'] == [[at[0], 20.0], [at[1], 30.0]]
        assert [text.get_text() for text in panel.texts] == ['5', '10']
    assert len({box[0].get_color() for box in latency.containers if box.get_label()[0] == 'A'}) == 1


def test_a_report_without_costs_is_an_error(tmp_path):
    path = tmp_path / 'report.json'
    path.write_text(json.dumps(dict(REPORT, rows=ROWS[-1:])))
    printed = run_here(tmp_path, 'analysis_tools/plot_efficiency', path, status=1)
    assert 'no row of the report has VCMR/R1@0.5' in printed
