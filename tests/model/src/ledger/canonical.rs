//! One name for states that differ only in the names of the bases.

use super::config::Ledger;
use super::message::Message;
use super::mirror::Mirror;
use super::server::Server;
use super::state::{Instance, State};

/// The new name of each base.
#[derive(Default)]
struct Names([u8; 16], u8);

impl Names {
    fn rename(&mut self, base: &mut u8) {
        if *base == 0 {
            return;
        }
        let name = &mut self.0[usize::from(*base)];
        if *name == 0 {
            self.1 += 1;
            *name = self.1;
        }
        *base = *name;
    }
}

impl Ledger {
    /// Returns a base that nothing has.
    pub(super) fn fresh_base(&self, state: &State) -> u8 {
        if !self.guards.fresh_base {
            return 1;
        }
        let mut most = 0;
        visit(&mut state.clone(), &mut |base| most = most.max(*base));
        most + 1
    }
}

impl State {
    /// Renames the bases in the order in which they are found.
    pub(super) fn canonical(mut self) -> Self {
        let mut names = Names::default();
        visit(&mut self, &mut |base| names.rename(base));
        self
    }
}

fn visit(state: &mut State, each: &mut impl FnMut(&mut u8)) {
    visit_server(&mut state.server, each);
    if let Some(replica) = &mut state.replica {
        visit_server(replica, each);
    }
    for instance in &mut state.instances {
        visit_instance(instance, each);
    }
}

fn visit_server(server: &mut Server, each: &mut impl FnMut(&mut u8)) {
    for generation in [&mut server.ledger, &mut server.old].into_iter().flatten() {
        each(&mut generation.base);
    }
    if let Some(record) = &mut server.record {
        each(&mut record.mark.base);
    }
}

fn visit_instance(instance: &mut Instance, each: &mut impl FnMut(&mut u8)) {
    if let Some(load) = &mut instance.load {
        each(&mut load.mark.base);
    }
    if let Some(sent) = &mut instance.sent {
        each(&mut sent.mark.base);
    }
    if let Some(read) = &mut instance.read {
        each(&mut read.record.mark.base);
        if let Some(first) = &mut read.first {
            each(&mut first.base);
        }
    }
    match &mut instance.mirror {
        Mirror::Unknown => {}
        Mirror::Known(view) => each(&mut view.base),
        Mirror::Loading(loading) => {
            let head = &mut loading.head;
            for (base, _) in [&mut head.current, &mut head.old].into_iter().flatten() {
                each(base);
            }
            visit_messages(&mut loading.kept, each);
        }
    }
    visit_messages(&mut instance.inbox, each);
}

fn visit_messages(messages: &mut [Message], each: &mut impl FnMut(&mut u8)) {
    for message in messages {
        match message {
            Message::Tag { base, .. }
            | Message::Other { base }
            | Message::Expiry { base, .. }
            | Message::Rotated { base, .. }
            | Message::Begun { base }
            | Message::All { base } => each(base),
            Message::Pong { .. } => {}
        }
    }
}
