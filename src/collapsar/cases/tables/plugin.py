"""Register the metric keys of tables, and a section of the page with columns, associations and rows."""

from pathlib import Path

from collapsar.judging.metric_keys import add_metrics
from collapsar.report.sections import Section, add_section

add_metrics(Path(__file__).with_name("metrics.yaml"))
add_section(Section(name="tables", title="The table", content="collapsar.cases.tables.table_pictures:content"))
