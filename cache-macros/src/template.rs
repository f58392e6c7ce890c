//! Templates of keys and tags: `"user:{id}:{filter.kind}"`.

use syn::{Expr, LitStr};

/// The use of a template.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Key,
    Tag,
}

impl Purpose {
    /// The word for the text that a template makes.
    fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Tag => "tag",
        }
    }
}

/// A piece of a template.
pub(crate) enum Piece {
    Literal(String),
    /// A placeholder: the name of the argument, and the expression for the part that is in the key.
    Argument(String, Expr),
}

/// Signs that may separate two placeholders. A rendered argument never contains one of them, so two
/// argument lists never have the same rendered key.
const SEPARATORS: &[char] = &[':', '/', '|', '=', '&', ';', ',', '?', '!', '+', '*', ' '];

pub(crate) fn parse(text: &LitStr, purpose: Purpose) -> syn::Result<Vec<Piece>> {
    let error = |message: &str| syn::Error::new(text.span(), message);
    let value = text.value();
    let mut pieces: Vec<Piece> = Vec::new();
    let mut literal = String::new();
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '{' | '}' if chars.peek() == Some(&c) => {
                chars.next();
                literal.push(c);
            }
            '}' => {
                return Err(error(
                    "`}` without its `{`; help: write `}}` for the sign itself",
                ));
            }
            '{' => {
                let Some(place) = until_brace(&mut chars) else {
                    return Err(error(
                        "`{` without its `}`; help: write `{{` for the sign itself",
                    ));
                };
                if let Some(Piece::Argument(before, _)) = pieces.last()
                    && !literal.contains(SEPARATORS)
                {
                    let (place, made) = (place.trim(), purpose.name());
                    return Err(error(&format!(
                        "nothing separates `{{{before}}}` from `{{{place}}}`: two argument lists \
                         could make one {made}; help: write a sign between them that no argument \
                         contains, such as `:`"
                    )));
                }
                if !literal.is_empty() {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                }
                pieces.push(placeholder(place.trim(), text)?);
            }
            '#' if purpose == Purpose::Key => {
                return Err(error(
                    "`#` is reserved for keys of the shared tiers; help: use another sign, such \
                     as `:`",
                ));
            }
            c => literal.push(c),
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

/// Takes everything before the next `}`. Returns `None` if there is none.
fn until_brace(chars: &mut impl Iterator<Item = char>) -> Option<String> {
    let mut taken = String::new();
    loop {
        match chars.next()? {
            '}' => return Some(taken),
            c => taken.push(c),
        }
    }
}

/// Parses what is between the braces.
fn placeholder(place: &str, text: &LitStr) -> syn::Result<Piece> {
    let expression = syn::parse_str::<Expr>(place).ok().filter(is_place);
    let Some(expression) = expression else {
        return Err(syn::Error::new(
            text.span(),
            format!(
                "`{{{place}}}` is not an argument; help: write such as `{{id}}` or \
                 `{{filter.kind}}`"
            ),
        ));
    };
    let name = place.split('.').next().unwrap_or_default().trim();
    Ok(Piece::Argument(name.to_owned(), respan(expression, text)))
}

/// Returns `true` for a name, and for a field of a place.
fn is_place(expression: &Expr) -> bool {
    match expression {
        Expr::Path(path) => path.path.get_ident().is_some() || path.path.is_ident("self"),
        Expr::Field(field) => is_place(&field.base),
        _ => false,
    }
}

/// Makes the first name of a place mean the argument of that name: inside a `macro_rules` a
/// template and its function can have different hygiene.
pub(crate) fn resolve(place: &Expr, argument: &syn::Ident, text: &LitStr) -> Expr {
    match place {
        Expr::Path(_) => {
            let mut name = argument.clone();
            name.set_span(text.span().resolved_at(argument.span()));
            syn::parse_quote!(#name)
        }
        Expr::Field(field) => {
            let mut field = field.clone();
            field.base = Box::new(resolve(&field.base, argument, text));
            Expr::Field(field)
        }
        other => other.clone(),
    }
}

/// Moves an expression to the template, so that errors in it, such as an unknown field, are
/// reported there.
fn respan(expression: Expr, text: &LitStr) -> Expr {
    let tokens = quote::ToTokens::to_token_stream(&expression)
        .into_iter()
        .map(|mut token| {
            token.set_span(text.span());
            token
        })
        .collect();
    syn::parse2(tokens).unwrap_or(expression)
}
