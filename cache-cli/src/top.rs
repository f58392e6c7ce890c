//! `top`: shows functions, tiers and instances while they work, from what instances publish.

mod draw;
mod numbers;
mod screen;

use std::io::{self, IsTerminal};

use cache_redis::inspect::Inspection;

use self::numbers::Numbers;
use self::screen::{Action, View};
use crate::args::Top;
use crate::failure::Failure;
use crate::output::Output;
use crate::published;
use crate::verdict::Verdict;

/// The width of the text that `--once` prints.
const ONCE: u16 = 100;

pub(crate) async fn run(
    inspection: &Inspection,
    output: &Output,
    arguments: &Top,
) -> Result<Verdict, Failure> {
    let instances = published::instances(inspection).await;
    if output.is_json {
        for instance in &instances {
            let value = serde_json::to_value(instance).unwrap_or_default();
            output.document(&value)?;
        }
        return Ok(Verdict::Fine);
    }
    if instances.is_empty() {
        return Err(Failure::not_found(
            format!(
                "no instance publishes itself in the namespace `{}`",
                inspection.namespace()
            ),
            "set `Redis::observe` in the program, and wait for some seconds",
        ));
    }
    let mut numbers = Numbers::default();
    numbers.update(instances);
    let mut view = View::new(inspection.namespace(), arguments.filter.clone());
    if arguments.once {
        let screen = draw::text(&view, &numbers, (ONCE, draw::height(&view, &numbers)));
        // The last line says what keys do.
        let lines: Vec<&str> = screen.lines().collect();
        for line in &lines[..lines.len().saturating_sub(1)] {
            output.line(line)?;
        }
        return Ok(Verdict::Fine);
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::usage(
            "`top` needs a terminal",
            "use `--once` for the screen as text, or `--json`",
        ));
    }
    let mut terminal = screen::Terminal::open()?;
    let mut signals = screen::Signals::new()?;
    loop {
        terminal.draw(|frame| draw::draw(frame, &view, &numbers))?;
        let action = screen::next(&mut view, &numbers, &mut signals).await?;
        match action {
            Action::Quit => return Ok(Verdict::Fine),
            Action::Redraw => {}
            Action::Read => numbers.update(published::instances(inspection).await),
        }
    }
}

#[cfg(test)]
mod tests;
