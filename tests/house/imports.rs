//! Imports between the files of a crate go one way.
//!
//! A file imports another if it names an item that the other one defines: in a `use`, or in a path
//! that begins with `crate`, `self`, `super`, a child, or an imported module. `mod name;` declares
//! a file and imports nothing.
//!
//! A parent may use its children, or the children may use their parent, but not both: such files
//! have to be read and changed together, like any two files that import each other. A parent that
//! re-exports an item of a child, and does not use it itself, only gives the item its public path.
//! This is no import, and a file that names the public path imports the child. Otherwise the usual
//! parent, `tier.rs` with `pub use self::status::TierStatus`, would form a cycle with each child
//! that uses another child.
//!
//! Tests are exempt, because they may use everything. The check does not see calls of methods,
//! because it does not know the types of values.

use std::collections::{BTreeMap, HashSet, VecDeque};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use crate::modules::{Modules, Target, imports, is_test};
use crate::sources::{Source, assert_none, sources};

/// Directory and root of each crate, and the smallest number of its files.
const CRATES: &[(&str, &str, usize)] = &[
    ("cache-cli/src", "main.rs", 15),
    ("cache-core/src", "lib.rs", 50),
    ("cache-disk/src", "lib.rs", 5),
    ("cache-macros/src", "lib.rs", 10),
    ("cache-memcached/src", "lib.rs", 8),
    ("cache-object/src", "lib.rs", 8),
    ("cache-opentelemetry/src", "lib.rs", 3),
    ("cache-prometheus/src", "lib.rs", 2),
    ("cache-redis/src", "lib.rs", 30),
    ("soak/src", "lib.rs", 10),
    ("src", "lib.rs", 1),
    ("tests/model/src", "lib.rs", 10),
    ("tests/testbed/src", "lib.rs", 5),
];

/// Pairs of an importing and an imported file, with the first line of the import.
type Edges = BTreeMap<(usize, usize), usize>;

fn cycles(sources: &[Source], directory: &str, root: &str) -> Vec<String> {
    let modules = Modules::new(sources, directory, root);
    let mut edges = Edges::new();
    for (file, path, content) in &modules.files {
        let mut visitor = Imports {
            modules: &modules,
            module: path.clone(),
            found: Vec::new(),
            reexported: Vec::new(),
            used: HashSet::new(),
        };
        visitor.visit_file(content);
        for (target, line) in visitor.finish() {
            let target = modules.by_path[&target].file;
            if target != *file {
                let first = edges.entry((*file, target)).or_insert(line);
                *first = line.min(*first);
            }
        }
    }
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for file in 0..sources.len() {
        let Some(mut cycle) = shortest_cycle(&edges, file) else {
            continue;
        };
        // A cycle is found once from each of its files, and reported once.
        let first = (0..cycle.len())
            .min_by_key(|at| cycle[*at])
            .unwrap_or_default();
        cycle.rotate_left(first);
        if seen.insert(cycle.clone()) {
            found.push(describe(sources, &edges, &cycle));
        }
    }
    found
}

fn shortest_cycle(edges: &Edges, file: usize) -> Option<Vec<usize>> {
    let mut queue = VecDeque::from([vec![file]]);
    let mut seen = HashSet::new();
    while let Some(way) = queue.pop_front() {
        let last = *way.last()?;
        for (_, next) in edges
            .range((last, 0)..=(last, usize::MAX))
            .map(|(edge, _)| *edge)
        {
            if next == file {
                return Some(way);
            }
            if seen.insert(next) {
                queue.push_back(way.iter().copied().chain([next]).collect());
            }
        }
    }
    None
}

fn describe(sources: &[Source], edges: &Edges, cycle: &[usize]) -> String {
    let mut text = format!("cycle of {} files:", cycle.len());
    for (at, file) in cycle.iter().enumerate() {
        let target = cycle[(at + 1) % cycle.len()];
        let line = edges[&(*file, target)];
        let (source, target) = (&sources[*file], &sources[target].path);
        let code = source.line(line);
        text += &format!("\n  {}:{line}: {code} (imports {target})", source.path);
    }
    text
}

/// Finds the modules from which a file imports.
struct Imports<'a> {
    modules: &'a Modules,
    /// The module that is visited.
    module: String,
    found: Vec<(String, usize)>,
    /// Re-exported items of children: module, name, defining module and line.
    reexported: Vec<(String, String, String, usize)>,
    /// Names that the code of a module uses.
    used: HashSet<(String, String)>,
}

impl Imports<'_> {
    fn finish(mut self) -> Vec<(String, usize)> {
        for (module, name, target, line) in self.reexported {
            if self.used.contains(&(module, name)) {
                self.found.push((target, line));
            }
        }
        self.found
    }

    fn path(&mut self, segments: &[String], line: usize) {
        if let Some(first) = segments.first() {
            self.used.insert((self.module.clone(), first.clone()));
        }
        // A single name is an import, which was seen, or a local name.
        if segments.len() > 1
            && let Some(Target::Item(target)) = self.modules.resolve(&self.module, segments)
        {
            self.found.push((target, line));
        }
    }

    /// Looks for paths in the arguments or the text of a macro.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut line, mut colons) = (0, 0);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.path(&std::mem::take(&mut path), line);
                    }
                    line = ident.span().start().line;
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.path(&std::mem::take(&mut path), line);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.path(&path, line);
    }

    fn use_tree(&mut self, item: &syn::ItemUse) {
        let is_public = !matches!(item.vis, syn::Visibility::Inherited);
        for import in imports(&item.tree) {
            let Some(target) = self.modules.resolve(&self.module, &import.path) else {
                continue;
            };
            match (target, import.name) {
                (Target::Item(target), Some(name)) if is_public && self.is_child(&target) => {
                    self.reexported
                        .push((self.module.clone(), name, target, import.line));
                }
                (Target::Module(target), None) if is_public && self.is_child(&target) => {
                    for name in &self.modules.by_path[&target].items {
                        let (module, name, target) =
                            (self.module.clone(), name.clone(), target.clone());
                        self.reexported.push((module, name, target, import.line));
                    }
                }
                (Target::Item(target), _) | (Target::Module(target), None) => {
                    self.found.push((target, import.line));
                }
                // The name of a module imports what is named through it.
                (Target::Module(_), Some(_)) => {}
            }
        }
    }

    fn is_child(&self, module: &str) -> bool {
        let below = module.strip_prefix(&self.module);
        below.is_some_and(|rest| {
            !rest.is_empty() && (self.module.is_empty() || rest.starts_with("::"))
        })
    }
}

impl<'ast> Visit<'ast> for Imports<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.content.is_none() || is_test(&item.attrs) {
            return;
        }
        let outer = self.module.clone();
        let separator = if outer.is_empty() { "" } else { "::" };
        self.module = format!("{outer}{separator}{}", item.ident);
        visit::visit_item_mod(self, item);
        self.module = outer;
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) {
            self.use_tree(item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !is_test(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path
            .segments
            .iter()
            .map(|part| part.ident.to_string())
            .collect();
        let line = path
            .segments
            .first()
            .map_or(0, |part| part.ident.span().start().line);
        self.path(&segments, line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        self.tokens(invocation.tokens.clone());
        visit::visit_macro(self, invocation);
    }

    // Neither attributes nor `pub(in path)` import anything.
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}
}

#[test]
fn files_of_each_crate_import_one_way() {
    let mut found = Vec::new();
    for (directory, root, at_least) in CRATES {
        let sources = sources(&[directory], "rs", *at_least);
        found.extend(cycles(&sources, directory, root));
    }
    assert_none(&found);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cycles_of(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<_> = files
            .iter()
            .map(|(path, text)| Source::new(path, text))
            .collect();
        cycles(&sources, "src", "lib.rs")
    }

    #[test]
    fn two_files_that_use_each_other_are_reported_with_both_lines() {
        let found = cycles_of(&[
            ("src/lib.rs", "mod a; mod b; pub use a::A;"),
            (
                "src/a.rs",
                "\nuse crate::b::{self, deep::{B as C, D}};\npub struct A;",
            ),
            (
                "src/b.rs",
                "pub mod deep { pub struct B; pub struct D; }\nfn f(_: crate::a::A) {}",
            ),
        ]);
        assert_eq!(
            found,
            ["cycle of 2 files:\n  \
              src/a.rs:2: use crate::b::{self, deep::{B as C, D}}; (imports src/b.rs)\n  \
              src/b.rs:2: fn f(_: crate::a::A) {} (imports src/a.rs)"]
        );
    }

    #[test]
    fn each_way_to_name_an_item_is_an_import() {
        for naming in [
            "use super::a::A;",
            "use super::{a::{A}};",
            "use super::a::*;",
            "use crate::A;",
            "use super::a; fn f(_: a::A) {}",
            "use super::a as other; fn f() { other::A; }",
            "fn f() { let a = crate::a::A; }",
            "fn f() { g!(1, [super::a::A]); }",
            "mod inner { fn f(_: super::super::a::A) {} }",
            "macro_rules! m { () => { $crate::a::A } }",
            "fn f() { use crate::a::A; }",
        ] {
            let found = cycles_of(&[
                ("src/lib.rs", "mod a; mod b; pub use a::A;"),
                ("src/a.rs", "use crate::b::B; pub struct A;"),
                ("src/b.rs", &format!("pub struct B;\n{naming}")),
            ]);
            assert_eq!(found.len(), 1, "{naming}");
        }
    }

    #[test]
    fn parent_and_child_that_use_each_other_are_reported() {
        let child = ("src/a/child.rs", "use super::A;\npub struct Child;");
        for parent in [
            "mod child; use child::Child; pub struct A;",
            "mod child; use self::child::Child; pub struct A;",
            "mod child; pub struct A; fn f() -> child::Child {}",
            "mod child; pub use child::Child; pub struct A; fn f(_: Child) {}",
            "mod child; pub use child::*; pub struct A; fn f() { g!(Child) }",
        ] {
            let found = cycles_of(&[("src/lib.rs", "mod a;"), ("src/a.rs", parent), child]);
            assert_eq!(found.len(), 1, "{parent}");
        }
    }

    #[test]
    fn parent_that_only_declares_and_reexports_its_children_is_not_reported() {
        let found = cycles_of(&[
            ("src/lib.rs", "mod a; pub use a::One;"),
            (
                "src/a.rs",
                "mod one; mod two; pub use one::One; pub(crate) use two::*; pub struct A;",
            ),
            ("src/a/one.rs", "use super::{A, Two}; pub struct One;"),
            ("src/a/two.rs", "use super::A; pub struct Two;"),
        ]);
        assert!(found.is_empty(), "{found:#?}");
    }

    #[test]
    fn children_that_use_each_other_through_their_parent_are_reported() {
        let found = cycles_of(&[
            ("src/lib.rs", "mod a;"),
            (
                "src/a.rs",
                "mod one; mod two; pub use one::One; pub use two::Two;",
            ),
            ("src/a/one.rs", "use super::Two; pub struct One;"),
            ("src/a/two.rs", "use crate::a::One; pub struct Two;"),
        ]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("src/a/one.rs:1: ") && found[0].contains("src/a/two.rs:1: "));
    }

    #[test]
    fn long_cycle_is_reported_once() {
        let found = cycles_of(&[
            ("src/lib.rs", "mod a; mod b; mod c;"),
            ("src/a.rs", "use crate::b::B; pub struct A;"),
            ("src/b.rs", "use crate::c::C; pub struct B;"),
            ("src/c.rs", "use crate::a::A; pub struct C;"),
        ]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("cycle of 3 files:"), "{found:#?}");
    }

    #[test]
    fn tests_may_import_everything() {
        let found = cycles_of(&[
            ("src/lib.rs", "mod a; mod b; #[cfg(test)] mod tests;"),
            (
                "src/a.rs",
                "use crate::b::B; pub struct A; #[cfg(all(test, not(unix)))] mod tests { use crate::tests::T; }",
            ),
            (
                "src/b.rs",
                "pub struct B; #[cfg(test)] use crate::a::A; #[cfg(schedules)] mod schedules;",
            ),
            ("src/b/schedules.rs", "use crate::a::A; use super::B;"),
            ("src/tests.rs", "use crate::a::A; pub struct T;"),
        ]);
        assert!(found.is_empty(), "{found:#?}");
    }
}
