//! The terminal: what is shown, and what keys do.

use std::io;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::{DefaultTerminal, Frame};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use super::numbers::{FunctionNumbers, Numbers};

/// The time between two looks for keys.
const KEYS: Duration = Duration::from_millis(50);

/// The column by which functions are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Calls,
    Loads,
    Cost,
    HitRatio,
    Name,
}

impl Sort {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Loads => "loads",
            Self::Cost => "cost",
            Self::HitRatio => "hit ratio",
            Self::Name => "name",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Calls => Self::Loads,
            Self::Loads => Self::Cost,
            Self::Cost => Self::HitRatio,
            Self::HitRatio => Self::Name,
            Self::Name => Self::Calls,
        }
    }
}

/// The part of the numbers that is shown.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) namespace: String,
    pub(super) sort: Sort,
    pub(super) filter: String,
    /// The filter is being written.
    pub(super) is_writing: bool,
    /// The place of the selected function in the list.
    pub(super) selected: usize,
    /// The details of the selected function are shown.
    pub(super) is_detailed: bool,
    /// Why the last read failed, so that the numbers are those of an earlier one.
    pub(super) problem: Option<String>,
}

/// The consequence of a key or a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Redraw,
    Quit,
}

impl View {
    pub(super) fn new(namespace: &str, filter: Option<String>) -> Self {
        Self {
            namespace: namespace.to_owned(),
            sort: Sort::default(),
            filter: filter.unwrap_or_default(),
            is_writing: false,
            selected: 0,
            is_detailed: false,
            problem: None,
        }
    }

    /// The functions in the order in which they are shown.
    pub(super) fn functions(&self, numbers: &Numbers) -> Vec<FunctionNumbers> {
        let mut functions = numbers.functions(&self.filter);
        let ratio = |of: &FunctionNumbers| of.hit_percent().unwrap_or(100.0);
        // Stable, so that functions that are equal stay in the order of their names.
        match self.sort {
            Sort::Name => {}
            Sort::Loads => functions.sort_by_key(|of| std::cmp::Reverse(of.loads)),
            Sort::Cost => functions.sort_by_key(|of| std::cmp::Reverse(of.cost)),
            Sort::Calls => functions.sort_by(|one, other| {
                let busy = other.calls_per_second.total_cmp(&one.calls_per_second);
                busy.then(other.calls.cmp(&one.calls))
            }),
            Sort::HitRatio => {
                functions.sort_by(|one, other| ratio(one).total_cmp(&ratio(other)));
            }
        }
        functions
    }

    /// Returns the place of the selected function in a list of this length.
    pub(super) fn selected_of(&self, functions: usize) -> usize {
        self.selected.min(functions.saturating_sub(1))
    }

    /// Does what a key is for.
    pub(super) fn press(&mut self, key: KeyEvent, functions: usize) -> Action {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control && matches!(key.code, KeyCode::Char('c' | 'd')) {
            return Action::Quit;
        }
        if self.is_writing {
            self.write(key.code);
            return Action::Redraw;
        }
        // Functions may have disappeared since the last key.
        self.selected = self.selected_of(functions);
        match key.code {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Esc if self.is_detailed => self.is_detailed = false,
            KeyCode::Esc => return Action::Quit,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('/') => self.is_writing = true,
            KeyCode::Enter => self.is_detailed = !self.is_detailed,
            KeyCode::Down | KeyCode::Char('j') => {
                self.selected = (self.selected + 1).min(functions.saturating_sub(1));
            }
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            _ => {}
        }
        Action::Redraw
    }

    fn write(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char(c) => self.filter.push(c),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Esc => {
                self.filter.clear();
                self.is_writing = false;
            }
            KeyCode::Enter => self.is_writing = false,
            _ => return,
        }
        self.selected = 0;
    }
}

/// The terminal. It is as it was before when this is dropped, and after a panic.
#[derive(Debug)]
pub(super) struct Terminal(DefaultTerminal);

impl Terminal {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self(ratatui::try_init()?))
    }

    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.0.draw(draw).map(drop)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// The signals that end the program. By default they would leave the terminal without its echo.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    hang_up: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

/// Waits for a key or a signal.
///
/// # Cancel safety
/// Cancel safe.
pub(super) async fn next(
    view: &mut View,
    numbers: &Numbers,
    signals: &mut Signals,
) -> io::Result<Action> {
    loop {
        while event::poll(Duration::ZERO)? {
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    let functions = numbers.functions(&view.filter).len();
                    return Ok(view.press(key, functions));
                }
                Event::Resize(..) => return Ok(Action::Redraw),
                _ => {}
            }
        }
        tokio::select! {
            _ = signals.terminate.recv() => return Ok(Action::Quit),
            _ = signals.hang_up.recv() => return Ok(Action::Quit),
            _ = signals.interrupt.recv() => return Ok(Action::Quit),
            () = sleep(KEYS) => {}
        }
    }
}
