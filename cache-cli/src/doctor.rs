//! `doctor`: checks the servers, their settings, and what the instances have stored.

mod finding;
mod functions;
mod groups;
mod instances;
mod layout;
mod memory;
mod namespace;
mod node;
mod permissions;
mod protocol;
mod records;
mod settings;

use std::io;

use cache_redis::inspect::{InspectedShard, Inspection};
use serde_json::json;

use self::finding::{Finding, State};
use crate::failure::Failure;
use crate::output::Output;
use crate::verdict::Verdict;

/// Runs all checks, and prints each as soon as it is known.
pub(crate) async fn run(inspection: &Inspection, output: &Output) -> Result<Verdict, Failure> {
    let mut report = Report::new(output);
    let mut is_usable = true;
    for node in inspection.nodes() {
        let is_here =
            |shard: &&InspectedShard| inspection.node_of(shard).address() == node.address();
        let shards: Vec<&InspectedShard> = inspection.shards().iter().filter(is_here).collect();
        let Some(shard) = shards.first() else {
            continue;
        };
        let facts = node::Facts::read(node).await;
        report.add(node::check(node, &shards, &facts).await)?;
        if !facts.is_usable() {
            is_usable = false;
            report.add(vec![not_checked(&facts.at, "this server")])?;
            continue;
        }
        report.add(protocol::check(inspection, node, shard, &facts).await)?;
        report.add(settings::check(&facts))?;
        report.add(memory::check(&facts))?;
    }
    match is_usable {
        true => {
            report.add(namespace::check(inspection).await)?;
            report.add(instances::check(inspection).await)?;
            report.add(records::check(inspection).await)?;
        }
        false => report.add(vec![not_checked(inspection.namespace(), "the namespace")])?,
    }
    report.end()?;
    Ok(match report.fails + report.warnings {
        0 => Verdict::Fine,
        _ => Verdict::Wrong,
    })
}

/// The line in place of checks that need a server that takes commands.
fn not_checked(at: &str, of: &str) -> Finding {
    let what = format!("the other checks of {of} were not made");
    Finding::not_known("usable", at, what).means("they need servers that instances can use")
}

/// The findings, printed while they are made.
struct Report<'a> {
    output: &'a Output,
    fails: usize,
    warnings: usize,
    unknown: usize,
}

impl<'a> Report<'a> {
    fn new(output: &'a Output) -> Self {
        Self {
            output,
            fails: 0,
            warnings: 0,
            unknown: 0,
        }
    }

    fn add(&mut self, findings: Vec<Finding>) -> io::Result<()> {
        for finding in findings {
            match finding.state {
                State::Fail => self.fails += 1,
                State::Warn => self.warnings += 1,
                State::NotKnown => self.unknown += 1,
                State::Ok | State::Info => {}
            }
            let document = || finding.document();
            self.output.either(&finding.text(), document)?;
        }
        Ok(())
    }

    fn end(&self) -> io::Result<()> {
        let (fails, warnings, unknown) = (self.fails, self.warnings, self.unknown);
        let text = format!("\n{fails} failed, {warnings} warnings, {unknown} not known");
        let document = || json!({"failed": fails, "warnings": warnings, "not_known": unknown});
        self.output.either(&text, document)
    }
}
