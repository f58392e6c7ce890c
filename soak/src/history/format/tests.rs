use super::*;
use crate::items::UNCHANGED;

const LIFE: Life = Life {
    instance: 3,
    number: 2,
};

fn read(by: By) -> Event {
    Event::Read {
        life: LIFE,
        item: 7,
        version: 9,
        by,
        start: 1,
        end: 2,
    }
}

fn health(well: bool) -> Event {
    Event::Health {
        life: LIFE,
        well,
        isolations: 4,
        start: 1,
        end: 2,
    }
}

fn events_of_one_form() -> Vec<Event> {
    vec![
        read(By::Call),
        read(By::Batch),
        read(By::Peek),
        read(By::Strong),
        read(By::Refresh),
        Event::Commit {
            item: 7,
            version: 9,
            at: 5,
        },
        Event::Load {
            life: LIFE,
            item: 7,
            at: 6,
        },
        Event::Panic { life: LIFE, at: 7 },
        Event::Call {
            life: LIFE,
            item: UNCHANGED,
            start: 6,
            end: 8,
        },
        health(false),
        health(true),
        Event::Split(Split {
            start: 1,
            moved: 2,
            united: 3,
            end: 4,
            stay: 5,
        }),
    ]
}

fn windows_and_invalidations() -> Vec<Event> {
    let windows = WINDOWS.map(|(kind, _)| Event::Window {
        kind,
        start: 1,
        end: 9,
    });
    let mut events = Vec::from(windows);
    for (reached, _) in REACHED {
        for scope in [Scope::One(4), Scope::FunctionOf(1004), Scope::Group(3)] {
            events.push(Event::Invalidation {
                life: LIFE,
                scope,
                start: 1,
                end: 3,
                reached,
            });
        }
    }
    events
}

#[test]
fn event_that_is_written_is_parsed_as_the_same_event() {
    let mut events = events_of_one_form();
    events.extend(windows_and_invalidations());
    let text: String = events.iter().map(|event| format!("{event}\n")).collect();
    assert_eq!(parse(&text), events);
    assert_eq!(
        parse(&format!("{text}R 1 1 7 1 10 1")),
        events,
        "the last line has no end"
    );
    assert_eq!(parse("R 1 1 7 1 10 20 30\nL 1 1\nL 1 1 7 x\n"), []);
}

#[test]
fn each_kind_has_a_name() {
    for kind in [
        Window::Calm,
        Window::Rest,
        Window::Quiet,
        Window::Unreachable,
        Window::Evicting,
    ] {
        assert_ne!(name_of(kind, &WINDOWS), "?");
    }
    for reached in [
        Reached::Acked,
        Reached::Queued,
        Reached::Dropped,
        Reached::Settled,
    ] {
        assert_ne!(name_of(reached, &REACHED), "?");
    }
}
