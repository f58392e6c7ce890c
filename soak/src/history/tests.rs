use super::*;

#[test]
fn what_is_written_is_read() {
    let life = Life {
        instance: 3,
        number: 2,
    };
    let mut events = vec![
        Event::Read {
            life,
            item: 7,
            version: 9,
            strong: false,
            start: 1,
            end: 2,
        },
        Event::Read {
            life,
            item: 1007,
            version: 9,
            strong: true,
            start: 1,
            end: 2,
        },
        Event::Commit {
            item: 7,
            version: 9,
            at: 5,
        },
        Event::Load {
            life,
            item: 7,
            at: 6,
        },
        Event::Panic { life, at: 7 },
        Event::Call {
            life,
            item: ASKED,
            start: 6,
            end: 8,
        },
    ];
    for well in [false, true] {
        events.push(Event::Health {
            life,
            well,
            isolations: 4,
            start: 1,
            end: 2,
        });
    }
    events.push(Event::Split(Split {
        start: 1,
        moved: 2,
        united: 3,
        end: 4,
        stay: 5,
    }));
    for kind in [
        Window::Calm,
        Window::Rest,
        Window::Quiet,
        Window::Away,
        Window::Evicting,
    ] {
        events.push(Event::Window {
            kind,
            start: 1,
            end: 9,
        });
    }
    for reached in [
        Reached::Acked,
        Reached::Queued,
        Reached::Dropped,
        Reached::Settled,
    ] {
        for scope in [Scope::One(4), Scope::FunctionOf(1004)] {
            events.push(Event::Invalidation {
                life,
                scope,
                start: 1,
                end: 3,
                reached,
            });
        }
    }
    let text: String = events.iter().map(|event| format!("{event}\n")).collect();
    assert_eq!(parse(&text), events);
    assert_eq!(parse(&format!("{text}R 1 1 7 1 10 1")), events, "it is cut");
}
