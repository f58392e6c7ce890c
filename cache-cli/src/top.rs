//! `top`: shows functions, tiers and instances while they work, from what instances publish.

mod draw;
mod numbers;
mod reader;
mod screen;

use std::io::{self, IsTerminal};
use std::pin::pin;

use cache_core::inspect::{PublishedInstance, keys};
use cache_redis::inspect::Inspection;

use self::numbers::Numbers;
use self::reader::Reader;
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
    let instances = published::instances(inspection).await?;
    if instances.is_empty() {
        return Err(Failure::not_found(
            format!(
                "no instance publishes itself in the namespace `{}`",
                inspection.namespace()
            ),
            "set `Redis::observe` in the program, and wait for some seconds",
        ));
    }
    if output.is_json {
        print(output, instances, arguments.filter.as_deref())?;
        return Ok(Verdict::Fine);
    }
    let mut numbers = Numbers::default();
    numbers.update(instances);
    let view = View::new(inspection.namespace(), arguments.filter.clone());
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
    show(inspection, view, numbers).await
}

/// Prints each instance as a document, with the functions whose names contain a text.
fn print(
    output: &Output,
    instances: Vec<PublishedInstance>,
    filter: Option<&str>,
) -> io::Result<()> {
    for mut instance in instances {
        if let Some(filter) = filter {
            let functions = &mut instance.snapshot.functions;
            functions.retain(|of| of.name.contains(filter));
            for settings in instance.function_settings.iter_mut().flatten() {
                settings.functions.retain(|field| {
                    keys::split_function(field).is_some_and(|(name, _)| name.contains(filter))
                });
            }
            if let Some(settings) = &mut instance.function_settings {
                settings.retain(|settings| !settings.functions.is_empty());
            }
        }
        let value = serde_json::to_value(instance).unwrap_or_default();
        output.document(&value)?;
    }
    Ok(())
}

/// Shows the numbers on the terminal until a key or a signal ends it.
async fn show(
    inspection: &Inspection,
    mut view: View,
    mut numbers: Numbers,
) -> Result<Verdict, Failure> {
    let mut terminal = screen::Terminal::open()?;
    let mut signals = screen::Signals::new()?;
    let mut reader = Reader::new(inspection);
    loop {
        let mut reading = pin!(reader.next());
        let read = loop {
            terminal.draw(|frame| draw::draw(frame, &view, &numbers))?;
            // Keys and signals have their effect also while the server does not answer.
            tokio::select! {
                action = screen::next(&mut view, &numbers, &mut signals) => match action? {
                    Action::Quit => return Ok(Verdict::Fine),
                    Action::Redraw => {}
                },
                read = &mut reading => break read,
            }
        };
        view.problem = match read {
            Ok(instances) => {
                numbers.update(instances);
                None
            }
            Err(failure) => Some(failure.to_string()),
        };
    }
}

#[cfg(test)]
mod tests;
