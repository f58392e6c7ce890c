//! Key templates: `"user:{id}:{filter.kind}"`.

use syn::{Expr, LitStr};

/// A piece of a template.
pub(crate) enum Piece {
    Literal(String),
    /// A place for an argument: its name, and the expression for what of it goes in.
    Argument(String, Expr),
}

/// What may stand between two places: an argument never shows one of these, so that no two lists of arguments meet.
const SEPARATORS: &[char] = &[':', '/', '|', '=', '&', ';', ',', '?', '!', '+', '*', ' '];

pub(crate) fn parse(text: &LitStr) -> syn::Result<Vec<Piece>> {
    let error = |message: String| syn::Error::new(text.span(), message);
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
                    "a `}` without its `{`; write `}}` for the sign itself".into(),
                ));
            }
            '{' => {
                let mut place = String::new();
                loop {
                    match chars.next() {
                        Some('}') => break,
                        Some(c) => place.push(c),
                        None => {
                            return Err(error(
                                "a `{` without its `}`; write `{{` for the sign itself".into(),
                            ));
                        }
                    }
                }
                let place = place.trim().to_owned();
                if let Some(Piece::Argument(before, _)) = pieces.last()
                    && !literal.contains(SEPARATORS)
                {
                    return Err(error(format!(
                        "between `{{{before}}}` and `{{{place}}}` there must be a sign that no argument shows, such as \
                         `:`; else two lists of arguments could make one key"
                    )));
                }
                if !literal.is_empty() {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                }
                let expression = syn::parse_str::<Expr>(&place)
                    .ok()
                    .filter(is_place)
                    .ok_or_else(|| {
                        error(format!(
                            "`{{{place}}}` is no argument: write `{{id}}` or `{{filter.kind}}`"
                        ))
                    })?;
                let name = place
                    .split('.')
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .to_owned();
                pieces.push(Piece::Argument(name, respan(expression, text)));
            }
            '#' => {
                return Err(error(
                    "`#` tells the keys that shared tiers have for themselves: use another sign, such as `:`".into(),
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

/// A name, or a field of a place.
fn is_place(expression: &Expr) -> bool {
    match expression {
        Expr::Path(path) => path.path.get_ident().is_some() || path.path.is_ident("self"),
        Expr::Field(field) => is_place(&field.base),
        _ => false,
    }
}

/// The same place, its first name meaning the argument whose name this is: a template and its function may come from different
/// places of a macro.
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

/// Errors in the expression, such as an unknown field, then stand at the template.
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
