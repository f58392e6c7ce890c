//! Phrases that are hard to understand, with plain ones to write instead.
//!
//! The check reads comments, documentation, string literals and names of tests. A phrase is on the
//! list if it was common in this project and is rarely the right one, because a false alarm costs
//! more than a phrase that is missed. Words in backticks are names, which the check does not read.

use crate::prose::{Place, Prose, Word, markdown, rust_prose, script_prose};
use crate::sources::{EVERYTHING, Source, assert_none, read, sources};

/// Phrases that are not used anywhere in a sentence, and what to write instead.
const ANYWHERE: &[(&[&str], &str)] = &[
    (&["told"], "notified, passed, or known from"),
    (&["hear", "hears", "heard"], "receive"),
    (&["gone"], "removed, closed, expired, or lost"),
    (&["dead"], "closed, failed, or terminated"),
    (&["owe", "owes", "owed"], "pending"),
    (&["pays", "paid", "unpaid"], "flushed, or costs"),
    (&["manieth"], "nth"),
    (&["anew"], "again"),
    (&["meanwhile"], "between which events"),
    (&["by now"], "already"),
    (
        &["is over", "are over", "was over", "were over", "be over"],
        "expired, or ended",
    ),
    (
        &["give back", "gives back", "gave back", "given back"],
        "released, or returned",
    ),
    (
        &[
            "who waits",
            "who asks",
            "who comes",
            "who looks",
            "who leads",
        ],
        "a caller that, or a waiter",
    ),
    (
        &["for who", "of who", "by who", "to who", "whoever"],
        "the caller that",
    ),
    (
        &["nobody", "somebody"],
        "no caller, another instance, some task",
    ),
    (&["all the same"], "still"),
    (&["go before", "goes before"], "takes precedence"),
    (&["worth to"], "should be"),
    (
        &["is none of", "are none of", "was none of"],
        "does not affect",
    ),
    (&["takes for", "took for", "taken for"], "treated as"),
    (
        &["is away", "are away", "was away", "be away", "while away"],
        "unreachable",
    ),
    (
        &["go away", "goes away", "went away"],
        "is dropped, or disconnects",
    ),
    (&["goes on", "went on"], "continues"),
    (
        &["is said", "are said", "was said", "be said"],
        "is set, or is specified",
    ),
    (
        &["it came to", "what came of", "what becomes of"],
        "the outcome of",
    ),
    (
        &["it stands", "stands still", "stood still", "still stands"],
        "remains valid, does not advance",
    ),
    (&["but for"], "except for"),
    (&["in vain"], "without success"),
    (&["for certain"], "reliably"),
    (&["does without", "do without"], "does not use"),
    (&["has it that"], "states that"),
];

/// Beginnings of a doc comment. It begins with a verb or with a noun phrase that names the item.
const BEGINNINGS: &[&str] = &[
    "as", "for what", "for who", "how it", "of", "said", "so", "the same", "those", "to be",
    "what", "whether", "who", "whose",
];

/// Beginnings of a sentence: its subject is a thing and not a clause.
const SENTENCES: &[&str] = &[
    "of these",
    "of those",
    "of two",
    "of what",
    "of which",
    "what has",
    "what is",
    "what it",
    "what no",
    "what others",
    "what they",
    "what this",
    "what was",
    "who",
];

/// Beginnings of a test's name, which begins with its subject.
const NAMES: &[&str] = &[
    "even", "it", "of", "so", "that", "they", "this", "what", "whatever", "where", "who",
    "whoever", "whose",
];

fn is_phrase_at(words: &[Word], at: usize, phrase: &str) -> bool {
    // Most words begin no phrase, and this is cheaper than to divide each phrase.
    if !phrase.starts_with(&words[at].text) {
        return false;
    }
    let length = phrase.split(' ').count();
    let found = &words[at..(at + length).min(words.len())];
    let is_whole = found.iter().rev().skip(1).all(|word| !word.ends_clause);
    is_whole
        && found
            .iter()
            .map(|word| word.text.as_str())
            .eq(phrase.split(' '))
}

fn violations(path: &str, texts: &[Prose]) -> Vec<String> {
    let mut found = Vec::new();
    for text in texts {
        let (beginnings, sentences): (&[&str], &[&str]) = match text.place {
            Place::TestName => (NAMES, &[]),
            Place::Doc => (BEGINNINGS, SENTENCES),
            Place::Paragraph => (&[], SENTENCES),
            Place::Fragment => (&[], &[]),
        };
        let words = &text.words;
        for (at, word) in words.iter().enumerate() {
            let is_phrase = |phrase: &&&str| is_phrase_at(words, at, phrase);
            let mut report = |phrase: &str, advice: &str| {
                let line = word.line;
                found.push(format!(
                    "{path}:{line}: {phrase:?}: {advice}: {}",
                    text.around(at)
                ));
            };
            for (phrases, instead) in ANYWHERE {
                if let Some(phrase) = phrases.iter().find(is_phrase) {
                    report(phrase, &format!("write {instead}"));
                }
            }
            if at == 0
                && let Some(phrase) = beginnings.iter().find(is_phrase)
            {
                report(&format!("{phrase} …"), "begin with the thing itself");
            } else if word.begins_sentence
                && !text.is_question(at)
                && let Some(phrase) = sentences.iter().find(is_phrase)
            {
                report(
                    &format!("{phrase} …"),
                    "begin the sentence with its subject",
                );
            }
        }
    }
    found
}

#[test]
fn texts_are_in_plain_english() {
    let mut found = Vec::new();
    for source in sources(EVERYTHING, "rs", 300) {
        // This file contains all the phrases.
        if source.path != "tests/house/phrases.rs" {
            found.extend(violations(&source.path, &rust_prose(&source)));
        }
    }
    for source in sources(&["cache-redis"], "lua", 8) {
        found.extend(violations(&source.path, &script_prose(&source, "--")));
    }
    for source in sources(&["scripts"], "sh", 8) {
        found.extend(violations(&source.path, &script_prose(&source, "#")));
    }
    let mut pages = sources(&["docs"], "md", 6);
    for page in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "tests/RACES.md",
    ] {
        pages.push(read(page));
    }
    for page in pages {
        found.extend(violations(&page.path, &markdown(&page)));
    }
    assert_none(&found);
}

#[cfg(test)]
fn in_rust(text: &str) -> Vec<String> {
    violations("a.rs", &rust_prose(&Source::new("a.rs", text)))
}

#[test]
fn forbidden_phrases_of_a_comment_are_reported_also_across_lines() {
    let found = in_rust("fn f() {}\n// One\n// who\n// waits is woken, all the same.\n");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with("a.rs:3: \"who waits\""), "{found:#?}");
    assert!(
        found[1].starts_with("a.rs:4: \"all the same\""),
        "{found:#?}"
    );
}

#[test]
fn plain_text_names_and_code_blocks_are_not_reported() {
    let plain = "/// Returns the ttl by which, now, `told` and `Owed` count.\n/// ```\n/// // gone\n/// ```\n";
    assert!(in_rust(plain).is_empty(), "{:#?}", in_rust(plain));
    assert!(in_rust("fn is_gone() { let told = b\"gone\"; }").is_empty());
}

#[test]
fn clauses_at_the_beginning_are_reported() {
    let found = in_rust(
        "/// What is there.\nfn f() {}\n/// The key. Who has it?\n/// Whose is it. Who has it.\nfn g() {}",
    );
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with("a.rs:1: \"what …\""), "{found:#?}");
    assert!(found[1].starts_with("a.rs:4: \"who …\""), "{found:#?}");
    assert!(in_rust("/// Returns.\n///\n/// What is there\nfn f() {}").len() == 1);
}

#[test]
fn messages_and_names_of_tests_are_looked_at() {
    let found = in_rust(
        "#[tokio::test]\nasync fn what_is_gone_is_loaded() {\n    warn!(key, \"it is dead\");\n}\nfn what_is() {}",
    );
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found
            .iter()
            .any(|line| line.starts_with("a.rs:2: \"gone\"")),
        "{found:#?}"
    );
    assert!(
        found
            .iter()
            .any(|line| line.starts_with("a.rs:2: \"what …\"")),
        "{found:#?}"
    );
    assert!(
        found
            .iter()
            .any(|line| line.starts_with("a.rs:3: \"dead\"")),
        "{found:#?}"
    );
}

#[test]
fn pages_are_looked_at_except_for_their_wrong_examples() {
    let page = "It is told.\n\n| wrong | right |\n| --- | --- |\n| It is gone. | It was removed. |\n\n| a |\n| dead |\n\n```\ngone\n```\n";
    let found = violations("a.md", &markdown(&Source::new("a.md", page)));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with("a.md:1: \"told\""), "{found:#?}");
    assert!(found[1].starts_with("a.md:8: \"dead\""), "{found:#?}");
}
