//! Draws the screen. No meaning depends on colour: marks are words, and bold or reversed text.

use std::time::Duration;

use cache_core::FunctionStats;
use cache_core::inspect::PublishedInstance;
use ratatui::backend::TestBackend;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Paragraph, Row, Table};
use ratatui::{Frame, Terminal};

use super::numbers::{FunctionNumbers, Numbers};
use super::screen::View;
use crate::output::{duration, printable};

/// The largest number of lines of the list of instances, with its heading.
const INSTANCES: u16 = 8;

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);

pub(super) fn draw(frame: &mut Frame<'_>, view: &View, numbers: &Numbers) {
    let rows = u16::try_from(numbers.instances.len()).unwrap_or(u16::MAX);
    let below = rows.saturating_add(1).min(INSTANCES);
    let parts = [
        Constraint::Length(2),
        Constraint::Min(3),
        Constraint::Length(1),
        Constraint::Length(below),
        Constraint::Length(1),
    ];
    let [head, middle, _, instances, foot] = Layout::vertical(parts).areas(frame.area());
    let functions = view.functions(numbers);
    draw_head(frame, head, view, numbers, functions.len());
    let selected = functions.get(view.selected_of(functions.len()));
    match selected.filter(|_| view.is_detailed) {
        Some(function) => draw_detail(frame, middle, function, numbers),
        None => draw_functions(frame, middle, view, &functions),
    }
    draw_instances(frame, instances, numbers);
    let keys = match view.is_writing {
        true => "type a filter, Enter keep, Esc clear".to_owned(),
        false => "q quit  s sort  / filter  up, down select  Enter details".to_owned(),
    };
    frame.render_widget(Paragraph::new(keys).style(REVERSED), foot);
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, view: &View, numbers: &Numbers, shown: usize) {
    let sum = |of: fn(&PublishedInstance) -> u64| {
        let published = numbers.instances.iter().map(of);
        published.fold(0, u64::saturating_add)
    };
    let loads = sum(|instance| instance.snapshot.loads_under_way as u64);
    let entries = sum(|instance| instance.snapshot.entries_in_memory);
    let left_out = sum(|instance| instance.functions_left_out as u64);
    let cursor = if view.is_writing { "_" } else { "" };
    let mut second = format!(
        "{shown} functions by {}, filter: {}{cursor}",
        view.sort.name(),
        if view.filter.is_empty() && !view.is_writing {
            "none"
        } else {
            &view.filter
        }
    );
    if left_out > 0 {
        second += &format!(", {left_out} not published");
    }
    let state = match &view.problem {
        Some(problem) => {
            second.clone_from(problem);
            "NOT CONNECTED, before that "
        }
        None => "",
    };
    let first = format!(
        "multi-tier-cached  {}  {state}{} instances, {loads} loads, {entries} entries in memory",
        view.namespace,
        numbers.instances.len()
    );
    let lines = vec![
        Line::styled(printable(&first), BOLD),
        Line::raw(printable(&second)),
    ];
    frame.render_widget(Paragraph::new(Text::from(lines)), area);
}

/// A time of a load, in milliseconds.
fn millis(time: Option<Duration>) -> String {
    time.map_or_else(
        || "-".to_owned(),
        |time| format!("{:.1}", time.as_secs_f64() * 1_000.0),
    )
}

fn draw_functions(frame: &mut Frame<'_>, area: Rect, view: &View, functions: &[FunctionNumbers]) {
    let heads = [
        "function", "calls", "calls/s", "hit %", "loads", "p50 ms", "p99 ms", "cost s", "errors",
    ];
    let selected = view.selected_of(functions.len());
    let row = |(at, of): (usize, &FunctionNumbers)| {
        let percent = of.hit_percent();
        let cells = [
            printable(&of.label),
            of.calls.to_string(),
            format!("{:.1}", of.calls_per_second),
            percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent:.1}")),
            of.loads.to_string(),
            millis(of.median),
            millis(of.p99),
            format!("{:.2}", of.cost.as_secs_f64()),
            of.errors.to_string(),
        ];
        let style = if at == selected {
            REVERSED
        } else {
            Style::new()
        };
        numbers_row(cells.map(String::from)).style(style)
    };
    // The selected row is always on the screen.
    let visible = usize::from(area.height.saturating_sub(1)).max(1);
    let first = (selected + 1).saturating_sub(visible);
    let rows = functions.iter().enumerate().skip(first).map(row);
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(6),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(6),
    ];
    let table = Table::new(rows, widths).header(numbers_row(heads.map(String::from)).style(BOLD));
    frame.render_widget(table, area);
}

/// A row whose first cell is a name, and whose other cells are numbers.
fn numbers_row<const N: usize>(cells: [String; N]) -> Row<'static> {
    Row::new(cells.into_iter().enumerate().map(|(at, cell)| match at {
        0 => Cell::from(cell),
        _ => Cell::from(Text::from(cell).right_aligned()),
    }))
}

fn draw_detail(frame: &mut Frame<'_>, area: Rect, function: &FunctionNumbers, numbers: &Numbers) {
    let mut lines = vec![
        Line::styled(printable(&function.label), BOLD),
        Line::raw(format!(
            "{} calls, {} hits, {} loads, {} failed, {} waited, {} invalidations",
            function.calls,
            function.hits,
            function.loads,
            function.errors,
            function.waits,
            function.invalidations
        )),
        Line::raw(format!(
            "loads: median {} ms, p99 {} ms, {:.2} s in total; {:.1} calls/s, {:.1} loads/s",
            millis(function.median),
            millis(function.p99),
            function.cost.as_secs_f64(),
            function.calls_per_second,
            function.loads_per_second
        )),
    ];
    for instance in &numbers.instances {
        let mut functions = instance.snapshot.functions.iter();
        let is_it =
            |of: &&FunctionStats| of.name == function.name && of.version == function.version;
        let Some(of) = functions.find(is_it) else {
            continue;
        };
        for tier in &of.tiers {
            lines.push(Line::raw(printable(&format!(
                "{:<16} {}  {} hits, {} misses, {} refused, {} damaged, {} mismatched",
                instance.name,
                tier.level,
                tier.hits,
                tier.misses,
                tier.refused_fills.total(),
                tier.decode_errors,
                tier.mismatches
            ))));
        }
    }
    frame.render_widget(Paragraph::new(Text::from(lines)), area);
}

fn draw_instances(frame: &mut Frame<'_>, area: Rect, numbers: &Numbers) {
    let mut heads =
        numbers_row(["instance", "version", "up", "loads", "entries"].map(String::from));
    heads = heads.style(BOLD);
    let rows = numbers.instances.iter().map(|instance| {
        let up = duration(instance.published.saturating_sub(instance.began));
        let tiers = instance.snapshot.tiers.iter().map(tier_state);
        let tiers: Vec<String> = tiers.collect();
        Row::new([
            Cell::from(printable(&instance.name)),
            Cell::from(Text::from(printable(&instance.version)).right_aligned()),
            Cell::from(Text::from(up).right_aligned()),
            Cell::from(Text::from(instance.snapshot.loads_under_way.to_string()).right_aligned()),
            Cell::from(Text::from(instance.snapshot.entries_in_memory.to_string()).right_aligned()),
            Cell::from(tiers.join("  ")),
        ])
    });
    let widths = [
        Constraint::Length(18),
        Constraint::Length(8),
        Constraint::Length(12),
        Constraint::Length(6),
        Constraint::Length(8),
        Constraint::Fill(1),
    ];
    frame.render_widget(Table::new(rows, widths).header(heads), area);
}

/// The state of a tier in words.
fn tier_state(tier: &cache_core::tier::TierStatus) -> String {
    let health = &tier.health;
    let state = match (health.connected, health.has_channel, health.coherent_for) {
        (false, ..) => "NOT CONNECTED",
        (true, true, None) => "ISOLATED",
        _ => "ok",
    };
    let queued = match health.queued {
        0 => String::new(),
        queued => format!(", {queued} QUEUED"),
    };
    format!("{} {state}{queued}", tier.level)
}

/// The height of a screen that has room for all functions, up to a limit.
pub(super) fn height(view: &View, numbers: &Numbers) -> u16 {
    const MOST: u16 = 1_000;
    let lines = |number: usize| u16::try_from(number).unwrap_or(MOST).min(MOST);
    let functions = lines(view.functions(numbers).len() + 1).max(3);
    let instances = lines(numbers.instances.len() + 1).min(INSTANCES);
    2 + functions + 1 + instances + 1
}

/// Draws the screen as text.
pub(super) fn text(view: &View, numbers: &Numbers, (width, height): (u16, u16)) -> String {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let Ok(_) = terminal.draw(|frame| draw(frame, view, numbers));
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for row in buffer.content.chunks(usize::from(width.max(1))) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}
