//! Sizes of files and functions.
//!
//! A file or function that exceeds a limit usually has a second idea, by which it can be split. If
//! it has not, an exception with its reason is added here: a split by count would be worse.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::sources::{EVERYTHING, Source, assert_none, sources};

/// Lines of a file, tests included.
const FILE: usize = 450;
/// Lines of a function, from its signature to its closing brace.
const FUNCTION: usize = 79;
/// Parameters of a function, `self` included.
const PARAMETERS: usize = 6;
/// Blocks within each other in a function. The body is the first level; each block in it (of a
/// branch, a loop, a closure, an `async` block) and each `match` is another.
const NESTING: usize = 5;

/// Functions that may exceed a limit: path, name and reason. For a file, the name is empty.
const EXCEPTIONS: &[(&str, &str, &str)] = &[(
    "tests/it/forms/functions.rs",
    "many",
    "the test shows that a function of eight arguments is cached",
)];

/// A file or a function that exceeds a limit.
#[derive(Debug)]
struct Excess {
    path: String,
    line: usize,
    function: String,
    what: String,
}

fn excesses(source: &Source) -> Vec<Excess> {
    let mut found = Vec::new();
    let lines = source.text.lines().count();
    if lines > FILE {
        found.push(Excess {
            path: source.path.clone(),
            line: 1,
            function: String::new(),
            what: format!("file has {lines} lines, at most {FILE} are allowed"),
        });
    }
    // Some inputs of the UI tests are invalid Rust on purpose.
    if let Ok(file) = syn::parse_file(&source.text) {
        let mut functions = Functions { source, found };
        functions.visit_file(&file);
        found = functions.found;
    }
    found
}

struct Functions<'a> {
    source: &'a Source,
    found: Vec<Excess>,
}

impl Functions<'_> {
    fn check(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let first = signature.span().start().line;
        let lines = body.span().end().line - first + 1;
        let mut depth = Depth::default();
        depth.visit_block(body);
        let measures = [
            (lines, FUNCTION, "lines"),
            (signature.inputs.len(), PARAMETERS, "parameters"),
            (depth.deepest, NESTING, "levels of nesting"),
        ];
        for (measure, limit, what) in measures {
            if measure > limit {
                self.found.push(Excess {
                    path: self.source.path.clone(),
                    line: first,
                    function: signature.ident.to_string(),
                    what: format!("has {measure} {what}, at most {limit} are allowed"),
                });
            }
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.check(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.check(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(body) = &function.default {
            self.check(&function.sig, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

#[derive(Default)]
struct Depth {
    current: usize,
    deepest: usize,
}

impl Depth {
    fn enter(&mut self, visit: impl FnOnce(&mut Self)) {
        self.current += 1;
        self.deepest = self.deepest.max(self.current);
        visit(self);
        self.current -= 1;
    }
}

impl<'ast> Visit<'ast> for Depth {
    fn visit_block(&mut self, block: &'ast syn::Block) {
        self.enter(|depth| visit::visit_block(depth, block));
    }

    fn visit_expr_match(&mut self, expression: &'ast syn::ExprMatch) {
        self.enter(|depth| visit::visit_expr_match(depth, expression));
    }

    fn visit_item(&mut self, _: &'ast syn::Item) {
        // A function within a function is measured on its own.
    }
}

fn is_allowed(excess: &Excess, exception: &(&str, &str, &str)) -> bool {
    exception.0 == excess.path && exception.1 == excess.function
}

#[test]
fn files_and_functions_keep_to_their_sizes() {
    let sources = sources(EVERYTHING, "rs", 300);
    let found: Vec<Excess> = sources.iter().flat_map(excesses).collect();
    let mut violations: Vec<String> = found
        .iter()
        .filter(|excess| {
            !EXCEPTIONS
                .iter()
                .any(|exception| is_allowed(excess, exception))
        })
        .map(|excess| {
            let Excess {
                path,
                line,
                function,
                what,
            } = excess;
            format!("{path}:{line}: {function} {what}")
        })
        .collect();
    // An exception that is no longer needed would hide the next excess.
    let unused = EXCEPTIONS
        .iter()
        .filter(|exception| !found.iter().any(|excess| is_allowed(excess, exception)));
    violations.extend(unused.map(|(path, function, _)| {
        format!("{path}:1: the exception for {function:?} is not needed")
    }));
    assert_none(&violations);
}

#[cfg(test)]
fn whats(text: &str) -> Vec<(usize, String)> {
    let excesses = excesses(&Source::new("a.rs", text));
    excesses
        .into_iter()
        .map(|excess| (excess.line, excess.what))
        .collect()
}

#[test]
fn long_file_is_reported() {
    assert!(whats(&"\n".repeat(450)).is_empty());
    let found = whats(&"\n".repeat(451));
    assert_eq!(
        found,
        [(1, "file has 451 lines, at most 450 are allowed".to_owned())]
    );
}

#[test]
fn long_function_is_reported_with_the_line_of_its_signature() {
    let lines = |count: usize| {
        format!(
            "/// Doc.\n#[inline]\nfn f() {{\n{}}}\n",
            "g();\n".repeat(count - 2)
        )
    };
    assert!(whats(&lines(79)).is_empty());
    assert_eq!(
        whats(&lines(80)),
        [(3, "has 80 lines, at most 79 are allowed".to_owned())]
    );
}

#[test]
fn long_parameter_list_is_reported_and_self_counts() {
    assert!(whats("fn f(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8) {}").is_empty());
    let found = whats("impl T {\n fn f(&self, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8) {}\n}");
    assert_eq!(
        found,
        [(2, "has 7 parameters, at most 6 are allowed".to_owned())]
    );
}

#[test]
fn deep_nesting_is_reported() {
    let nested = |blocks: usize| {
        format!(
            "fn f() {{ {}{} }}",
            "if a {".repeat(blocks),
            "}".repeat(blocks)
        )
    };
    assert!(whats(&nested(4)).is_empty());
    assert_eq!(whats(&nested(5)).len(), 1);
    assert_eq!(
        whats(
            "trait T { fn f() { match a { A => { match b { B => { match c { C => d } } } } } } }"
        )
        .len(),
        1
    );
    assert!(whats("fn f() { if a { if b { if c { fn g() { if d { if e {} } } } } } }").is_empty());
}
