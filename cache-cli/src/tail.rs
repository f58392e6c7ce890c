//! `tail`: shows invalidations while they happen, from the audit and from the channel.

mod gaps;

use std::collections::HashMap;

use cache_core::tier::FunctionKey;
use cache_redis::inspect::{Announcement, Inspection, Messages, Subject};
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::gaps::Gaps;
use crate::args::Tail;
use crate::audit::{self, AuditEntry, RawEntry, time_of_day};
use crate::failure::Failure;
use crate::output::Output;
use crate::published;
use crate::verdict::Verdict;

/// The time for which a read of the audit waits. Shorter than the time limit of a command.
const BLOCK: u64 = 2_000;

/// Events that wait to be printed. A reader that is slower delays the readers of the servers.
const MOST_WAITING: usize = 256;

/// Something that happened in a shard.
enum Event {
    Audit(AuditEntry),
    Message(Announcement),
    /// The number of messages of this shard that did not arrive.
    Gap(u8, u64),
    /// The user may not read the audit of this shard.
    Refused(u8),
    /// The connection of the channel or the audit of this shard has ended.
    Lost(&'static str, u8),
}

pub(crate) async fn run(
    inspection: &Inspection,
    output: &Output,
    arguments: &Tail,
) -> Result<Verdict, Failure> {
    let mut printer = Printer::new(output, arguments, names(inspection).await);
    let (sender, mut events) = mpsc::channel(MOST_WAITING);
    // Ends with this function.
    let mut readers = JoinSet::new();
    let mut earlier = Vec::new();
    for shard in inspection.shards() {
        let node = inspection.node_of(shard);
        // Subscribed before the last entries are read, so that nothing happens in between.
        let messages = shard.messages(node).await?;
        readers.spawn(follow_channel(messages, shard.index(), sender.clone()));
        let stream = shard.controls().audit;
        let (mut connection, driver) = node.open().await?;
        let entries = match audit::last(&mut connection, &stream, arguments.last.max(1)).await {
            Ok(entries) => entries,
            Err(error) if audit::is_refused(&error) => {
                printer.print(Event::Refused(shard.index()))?;
                continue;
            }
            // The server refuses it for another reason, such as a key of another program.
            Err(error) if error.code().is_some() => {
                let text = format!("the audit of shard {} cannot be read", shard.index());
                output.note(&format!("{text}: {error}"), None);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let after = entries.last();
        let after = after.map_or_else(|| "0-0".to_owned(), |entry| entry.id.clone());
        earlier.extend(entries);
        let (sender, index) = (sender.clone(), shard.index());
        readers.spawn(async move {
            let _driver = driver;
            let end = follow_audit(connection, stream, after, &sender).await;
            let _ = sender.send(end(index)).await;
        });
    }
    // Events of the readers wait until the earlier ones are printed.
    earlier.sort_by_key(AuditEntry::order);
    for entry in earlier.split_off(earlier.len().saturating_sub(arguments.last)) {
        printer.print(Event::Audit(entry))?;
    }
    // The events end with the readers.
    drop(sender);
    while !printer.is_done() {
        tokio::select! {
            event = events.recv() => match event {
                Some(Event::Lost(what, shard)) => {
                    // Half of the events would look like all of them.
                    while let Ok(event) = events.try_recv() {
                        printer.print(event)?;
                    }
                    return Err(Failure::lost(
                        format!("the subscription or connection of the {what} of shard {shard} has ended"),
                        "run `tail` again",
                    ));
                }
                Some(event) => printer.print(event)?,
                None => break,
            },
            // Without a handler, the signal ends the process by itself.
            Ok(()) = tokio::signal::ctrl_c() => break,
        }
    }
    Ok(Verdict::Fine)
}

async fn follow_channel(mut messages: Messages, shard: u8, sender: mpsc::Sender<Event>) {
    let mut gaps = Gaps::default();
    while let Some(message) = messages.next().await {
        let mut events = Vec::new();
        let report = |missing: u64| (missing > 0).then_some(Event::Gap(shard, missing));
        for message in [message].into_iter().chain(messages.arrived()) {
            events.extend(report(gaps.before(&message)));
            events.push(Event::Message(message));
        }
        // Those that no later message shows to be missing.
        events.extend(report(gaps.dropped(messages.lost())));
        for event in events {
            if sender.send(event).await.is_err() {
                return;
            }
        }
    }
    let _ = sender.send(Event::Lost("channel", shard)).await;
}

/// Sends the entries until they cannot be read any more. Returns the event that says so.
async fn follow_audit(
    mut connection: MultiplexedConnection,
    stream: String,
    mut after: String,
    sender: &mpsc::Sender<Event>,
) -> fn(u8) -> Event {
    loop {
        let mut read = redis::cmd("XREAD");
        read.arg("BLOCK").arg(BLOCK);
        read.arg("STREAMS").arg(&stream).arg(&after);
        let found: Result<Option<HashMap<String, Vec<RawEntry>>>, _> =
            read.query_async(&mut connection).await;
        let found = match found {
            Ok(found) => found,
            Err(error) if audit::is_refused(&error) => return Event::Refused,
            Err(_) => return |shard| Event::Lost("audit", shard),
        };
        for raw in found.into_iter().flatten().flat_map(|(_, entries)| entries) {
            let entry = AuditEntry::new(raw);
            after.clone_from(&entry.id);
            if sender.send(Event::Audit(entry)).await.is_err() {
                return |shard| Event::Lost("audit", shard);
            }
        }
    }
}

/// The names of functions by their digests.
async fn names(inspection: &Inspection) -> HashMap<u64, String> {
    let functions = published::functions(inspection).await.into_iter();
    functions
        .map(|function| {
            let key = FunctionKey::new(&function.name, function.version);
            (key.digest, function.name)
        })
        .collect()
}

struct Printer<'a> {
    output: &'a Output,
    arguments: &'a Tail,
    /// Functions that are known: from what instances publish, and from the audit.
    names: HashMap<u64, String>,
    printed: usize,
}

/// The largest number of names that are learned.
const MOST_NAMES: usize = 10_000;

impl<'a> Printer<'a> {
    fn new(output: &'a Output, arguments: &'a Tail, names: HashMap<u64, String>) -> Self {
        Self {
            output,
            arguments,
            names,
            printed: 0,
        }
    }

    fn is_done(&self) -> bool {
        self.arguments
            .count
            .is_some_and(|count| self.printed >= count)
    }

    fn print(&mut self, event: Event) -> Result<(), Failure> {
        let (text, document) = match event {
            Event::Audit(entry) => {
                self.learn(&entry.what);
                let time = time_of_day(entry.millis());
                let text = format!("audit    {time} UTC  {:<16} {}", entry.who, entry.what);
                let document = json!({
                    "source": "audit",
                    "time_ms": entry.millis(),
                    "who": entry.who,
                    "what": entry.what,
                });
                (text, document)
            }
            Event::Message(message) => match self.message(&message) {
                Some(shown) => shown,
                None => return Ok(()),
            },
            // Whatever is filtered: what is missing may be what is looked for.
            Event::Gap(shard, missing) => return self.gap(shard, missing),
            Event::Refused(shard) => {
                let text = format!("the audit of shard {shard} cannot be read");
                let help = "ACL SETUSER <user> +xread +xrevrange";
                self.output.note(&text, Some(help));
                return Ok(());
            }
            Event::Lost(..) => return Ok(()),
        };
        let filter = self.arguments.filter.as_deref().unwrap_or_default();
        if !text.contains(filter) || self.is_done() {
            return Ok(());
        }
        self.printed += 1;
        Ok(self.output.entry(&text, || document)?)
    }

    fn gap(&mut self, shard: u8, missing: u64) -> Result<(), Failure> {
        if self.is_done() {
            return Ok(());
        }
        self.printed += 1;
        let what = format!("{missing} messages of shard {shard} are missing");
        let text = format!("message  {:<16} {:<16} {what}", "", "gap");
        let document = || {
            json!({
                "source": "message",
                "number": null,
                "kind": "gap",
                "what": what,
                "shard": shard,
                "missing": missing,
            })
        };
        Ok(self.output.entry(&text, document)?)
    }

    /// Notes the function of an entry: `function:version`, and `:arguments` for a key.
    fn learn(&mut self, what: &str) {
        let rest = audit::subject(what);
        let mut end = 0;
        while let Some(at) = rest[end..].find(':') {
            end += at;
            match rest[end..].starts_with("::") {
                true => end += 2,
                false => break,
            }
        }
        let (name, version) = rest.split_at(end);
        let is_function = version.starts_with(':') && self.names.len() < MOST_NAMES;
        if is_function && !name.is_empty() {
            let key = FunctionKey::found(name.to_owned(), 0);
            self.names.insert(key.digest, name.to_owned());
        }
    }

    /// `None` for a message that is not asked for.
    fn message(&self, message: &Announcement) -> Option<(String, Value)> {
        let function = |digest: &u64| match self.names.get(digest) {
            Some(name) => format!("function {name}"),
            None => format!("a function with the digest {digest:016x}"),
        };
        let (kind, what) = match &message.subject {
            Subject::Keys(digests) => ("keys", keys("key", digests)),
            Subject::Function(digest) => ("function", function(digest)),
            Subject::History(_) => ("everything", "everything: a new history".to_owned()),
            Subject::Tags(digests) => ("tags", keys("tag", digests)),
            Subject::Expired(digests) => ("expired", keys("key, function or tag", digests)),
            Subject::AllTags => ("tags", "all tags".to_owned()),
            Subject::Unknown => ("unknown", "a message of a newer version".to_owned()),
            Subject::Foreign => ("foreign", "a payload that is not of this cache".to_owned()),
            Subject::Sequence => ("sequence", "the sequence begins again".to_owned()),
            Subject::LedgerRotated | Subject::LedgerBegun => (
                "ledger",
                "the ledger of tags begins a generation".to_owned(),
            ),
            Subject::Free(digest) if self.arguments.fills => ("free", keys("key", &[*digest])),
            Subject::Failed(digest) if self.arguments.fills => ("failed", keys("key", &[*digest])),
            _ => return None,
        };
        let number = message
            .number
            .map_or_else(String::new, |number| number.to_string());
        let text = format!("message  {number:<16} {kind:<16} {what}");
        let document = json!({
            "source": "message",
            "number": message.number,
            "kind": kind,
            "what": what,
        });
        Some((text, document))
    }
}

/// Keys and tags are announced by their digests alone, from which no name follows.
fn keys(what: &str, digests: &[u64]) -> String {
    let shown: Vec<String> = digests
        .iter()
        .map(|digest| format!("{digest:016x}"))
        .collect();
    match shown.len() {
        1 => format!("a {what} with the digest {}", shown[0]),
        number => format!("{number} of: {what}, with the digests {}", shown.join(" ")),
    }
}
