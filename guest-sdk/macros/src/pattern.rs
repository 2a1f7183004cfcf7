//! A handler's pattern: the event and the fields that it names. It is checked against the
//! catalogue, so that a wrong name gets a helpful error.

use hailer_abi::catalogue::{EventType, FieldDef, RecordType};
use hailer_abi::manifest::{Field, FieldKind};
use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::{Error, FieldPat, Ident, Member, Pat, PatStruct, Path, Result};

use crate::naming::{columns, did_you_mean};

/// One field that a pattern names.
pub(crate) struct FieldUse {
    pub(crate) field: &'static FieldDef,
    /// The pattern that the value is bound to.
    pub(crate) binding: Pat,
    /// The pattern of a list's elements; `None` for other fields.
    pub(crate) record: Option<RecordUse>,
}

/// The pattern of a list's elements.
pub(crate) struct RecordUse {
    pub(crate) record: &'static RecordType,
    /// The pattern as the author wrote it.
    pub(crate) pattern: PatStruct,
    pub(crate) fields: Vec<SubFieldUse>,
}

pub(crate) struct SubFieldUse {
    pub(crate) field: &'static FieldDef,
    /// The name of the field in the element's struct.
    pub(crate) name: Ident,
}

impl FieldUse {
    /// The field as the manifest declares it.
    pub(crate) fn declared(&self) -> Field {
        let of = self
            .record
            .iter()
            .flat_map(|record| &record.fields)
            .map(|sub| declared(sub.field))
            .collect();
        Field { of, ..declared(self.field) }
    }
}

fn declared(field: &FieldDef) -> Field {
    Field {
        name: field.name.into(),
        kind: field.kind,
        paths: field.paths.iter().map(|path| (*path).into()).collect(),
        required: field.required,
        personal: field.personal,
        of: Vec::new(),
    }
}

/// The fields that a handler's pattern names.
pub(crate) fn field_uses(event: &'static EventType, pattern: &Pat) -> Result<Vec<FieldUse>> {
    match pattern {
        Pat::Wild(_) => Ok(Vec::new()),
        Pat::Struct(pattern) => {
            expect_name(&pattern.path, event.name, "the parameter's type")?;
            let mut uses: Vec<FieldUse> = Vec::new();
            let mut errors = Errors::default();
            for named in &pattern.fields {
                match field_use(event, named) {
                    Ok(Some(new)) if uses.iter().any(|old| old.field.name == new.field.name) => {
                        errors.add(Error::new(named.member.span(), "this field is named twice"));
                    }
                    Ok(new) => uses.extend(new),
                    Err(error) => errors.add(error),
                }
            }
            errors.or(uses)
        }
        whole => Err(Error::new(whole.span(), whole_event(event))),
    }
}

fn field_use(event: &'static EventType, named: &FieldPat) -> Result<Option<FieldUse>> {
    let (name, span) = member(named)?;
    let field = event
        .field(&name)
        .ok_or_else(|| Error::new(span, unknown_field(event.name, event.fields, &name)))?;
    if matches!(*named.pat, Pat::Wild(_)) {
        return Ok(None);
    }
    let Some(record) = field.record else {
        if let Pat::Slice(pattern) = &*named.pat {
            return Err(Error::new(
                pattern.span(),
                format!("`{name}` is not a list: name it without `[…]`"),
            ));
        }
        return Ok(Some(FieldUse { field, binding: (*named.pat).clone(), record: None }));
    };
    let (binding, pattern): (Pat, &Pat) = match &*named.pat {
        slice @ Pat::Slice(_) => {
            let name = Ident::new(&name, span);
            (syn::parse_quote!(#name), slice)
        }
        // `items: lines @ [ChequeItem { .. }]` renames the list.
        Pat::Ident(renamed) if renamed.subpat.is_some() => {
            let (name, mutability) = (&renamed.ident, renamed.mutability);
            let (_, slice) = renamed.subpat.as_ref().expect("the match guard checks it");
            (syn::parse_quote!(#mutability #name), slice)
        }
        whole => return Err(Error::new(whole.span(), whole_list(field, record))),
    };
    Ok(Some(FieldUse { field, binding, record: Some(record_use(field, record, pattern)?) }))
}

fn record_use(
    field: &'static FieldDef,
    record: &'static RecordType,
    pattern: &Pat,
) -> Result<RecordUse> {
    let element = match pattern {
        Pat::Slice(slice) if slice.elems.len() == 1 => &slice.elems[0],
        other => return Err(Error::new(other.span(), whole_list(field, record))),
    };
    let Pat::Struct(pattern) = element else {
        return Err(Error::new(element.span(), whole_list(field, record)));
    };
    expect_name(
        &pattern.path,
        record.name,
        &format!("the type of the elements of `{}`", field.name),
    )?;
    let mut fields: Vec<SubFieldUse> = Vec::new();
    let mut errors = Errors::default();
    for named in &pattern.fields {
        match sub_field_use(record, named) {
            Ok(Some(new)) if fields.iter().any(|old| old.field.name == new.field.name) => {
                errors.add(Error::new(named.member.span(), "this field is named twice"));
            }
            Ok(new) => fields.extend(new),
            Err(error) => errors.add(error),
        }
    }
    errors.or(RecordUse { record, pattern: pattern.clone(), fields })
}

fn sub_field_use(record: &'static RecordType, named: &FieldPat) -> Result<Option<SubFieldUse>> {
    let (name, span) = member(named)?;
    let field = record
        .field(&name)
        .ok_or_else(|| Error::new(span, unknown_field(record.name, record.fields, &name)))?;
    match &*named.pat {
        Pat::Wild(_) => Ok(None),
        Pat::Ident(bound)
            if bound.subpat.is_none() && bound.by_ref.is_none() && bound.mutability.is_none() =>
        {
            Ok(Some(SubFieldUse { field, name: bound.ident.clone() }))
        }
        other => Err(Error::new(
            other.span(),
            "name an element's field as it is, or rename it: `amount: price`",
        )),
    }
}

/// The name of a field in a pattern, and its span.
fn member(named: &FieldPat) -> Result<(String, Span)> {
    match &named.member {
        Member::Named(name) => Ok((name.to_string(), name.span())),
        Member::Unnamed(index) => Err(Error::new(index.span(), "fields have names, not numbers")),
    }
}

fn expect_name(path: &Path, expected: &str, what: &str) -> Result<()> {
    match path.segments.last() {
        Some(last) if last.ident == expected => Ok(()),
        _ => Err(Error::new(
            path.span(),
            format!("{what} is `{expected}`, so the pattern must be `{expected} {{ .. }}`"),
        )),
    }
}

fn unknown_field(what: &str, fields: &[FieldDef], name: &str) -> String {
    let names = || fields.iter().map(|field| field.name);
    format!(
        "`{what}` has no field `{name}`{}\nits fields are:{}",
        did_you_mean(name, names()),
        columns(names())
    )
}

fn whole_event(event: &EventType) -> String {
    format!(
        "name the fields that this handler reads of the event: `{}: {}`\n`_: {}` reads none; the \
         fields are:{}",
        example(event.name, event.fields),
        event.name,
        event.name,
        columns(event.fields.iter().map(|field| field.name)),
    )
}

fn whole_list(field: &FieldDef, record: &RecordType) -> String {
    format!(
        "`{}` is a list: name the fields that this handler reads of each element: `{}: \
         [{}]`\nthe fields are:{}",
        field.name,
        field.name,
        example(record.name, record.fields),
        columns(record.fields.iter().map(|field| field.name)),
    )
}

/// An example pattern with two fields that exist: `Purchase { amount, brand_id, .. }`.
fn example(name: &str, fields: &[FieldDef]) -> String {
    let plain = fields.iter().filter(|field| field.kind != FieldKind::List && !field.personal);
    let names: Vec<_> = plain.take(2).map(|field| field.name).collect();
    format!("{name} {{ {}, .. }}", names.join(", "))
}

/// Collects errors, so that all are shown together.
#[derive(Default)]
pub(crate) struct Errors(Option<Error>);

impl Errors {
    pub(crate) fn add(&mut self, error: Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            None => self.0 = Some(error),
        }
    }

    /// The value, if there were no errors.
    pub(crate) fn or<T>(self, value: T) -> Result<T> {
        self.0.map_or(Ok(value), Err)
    }
}
