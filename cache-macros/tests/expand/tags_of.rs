impl Repo {
    #[allow(clippy::used_underscore_binding)]
    pub async fn get(&self, id: u64) -> Option<User> {
        let __miss = match Self::__get_with_key(
            self,
            ::multi_tier_cached::__private::CallNow,
            Self::__get_returns,
            &id,
        ) {
            ::multi_tier_cached::__private::MemoryLookup::Hit(__result) => {
                return __result;
            }
            ::multi_tier_cached::__private::MemoryLookup::Miss(__miss) => __miss,
        };
        __miss.load(move || Self::__get_body(self, id)).await
    }
    ///Returns the handle of one call of `get`, which does not begin.
    #[inline]
    #[allow(
        dead_code,
        non_snake_case,
        unused_variables,
        unused_lifetimes,
        single_use_lifetimes,
        clippy::all,
        clippy::pedantic
    )]
    pub fn get_entry(
        &self,
        id: u64,
    ) -> ::multi_tier_cached::__private::Call<
        Option<User>,
        impl ::core::future::Future<Output = Option<User>>,
    > {
        let __handle = Self::__get_with_key(
            self,
            ::multi_tier_cached::__private::MakeHandle,
            Self::__get_returns,
            &id,
        );
        ::multi_tier_cached::__private::call(__handle, Self::__get_body(self, id))
    }
    ///Invalidates one key of `get` in every tier.
    #[inline]
    #[allow(
        dead_code,
        non_snake_case,
        unused_variables,
        unused_lifetimes,
        single_use_lifetimes,
        clippy::all,
        clippy::pedantic
    )]
    pub fn get_invalidation(
        &self,
        id: u64,
    ) -> ::multi_tier_cached::__private::Invalidation {
        Self::__get_with_key(
            self,
            ::multi_tier_cached::__private::MakeInvalidation,
            Self::__get_returns,
            &id,
        )
    }
    ///Invalidates every key of `get` in every tier.
    #[inline]
    #[allow(
        dead_code,
        non_snake_case,
        unused_variables,
        unused_lifetimes,
        single_use_lifetimes,
        clippy::all,
        clippy::pedantic
    )]
    pub fn get_invalidate_all() -> ::multi_tier_cached::__private::Invalidation {
        ::multi_tier_cached::__private::FunctionRef::instance(
                Self::__get_slot(),
                &(::core::marker::PhantomData::<Self>,),
            )
            .invalidate_all()
    }
    #[doc(hidden)]
    #[inline]
    #[allow(
        unused_parens,
        unused_lifetimes,
        single_use_lifetimes,
        clippy::all,
        clippy::pedantic
    )]
    fn __get_with_key<
        __Spec: ::multi_tier_cached::__private::CachedResult<Result = Option<User>>,
        __Mode: ::multi_tier_cached::__private::CallMode<__Spec>,
    >(self: &Self, __mode: __Mode, __returned: __Spec, id: &u64) -> __Mode::Output {
        __mode
            .take(
                ::multi_tier_cached::__private::FunctionRef::instance(
                    Self::__get_slot(),
                    &(::core::marker::PhantomData::<Self>,),
                ),
                __returned,
                |__parts: &mut ::multi_tier_cached::__private::Parts<'_>| {
                    __parts.add(id);
                },
            )
    }
    #[doc(hidden)]
    #[inline]
    #[allow(unused_lifetimes, single_use_lifetimes, clippy::all, clippy::pedantic)]
    fn __get_returns() -> impl ::multi_tier_cached::__private::CachedResult<
        Result = Option<User>,
    > {
        ::multi_tier_cached::__private::returns!(shared Option < User >)
            .tags_of(|__value| ::multi_tier_cached::__private::collect_tags(
                __value,
                |user: &User| [tag!("org:{user.org}")],
            ))
    }
    #[doc(hidden)]
    fn __get_slot() -> &'static ::multi_tier_cached::__private::FunctionSlot {
        static __SLOT: ::multi_tier_cached::__private::FunctionSlot = ::multi_tier_cached::__private::FunctionSlot::new(::multi_tier_cached::__private::Definition {
            name: ::multi_tier_cached::__private::Cow::Borrowed(
                ::core::concat!(::core::module_path!(), "::", "get"),
            ),
            file: ::core::file!(),
            line: ::core::line!(),
            ttl: ::multi_tier_cached::__private::Ttl::everywhere(
                ::core::time::Duration::new(300u64, 0u32),
            ),
            in_impl: true,
            has_instances: true,
            arguments: &["id"],
            tags: ::multi_tier_cached::__private::TagTemplates::declared(&[]),
            ..::multi_tier_cached::__private::Definition::DEFAULT
        });
        ::multi_tier_cached::__private::inventory::submit! {
            ::multi_tier_cached::__private::Registered::new(__SLOT.definition())
        }
        &__SLOT
    }
    #[doc(hidden)]
    async fn __get_body(&self, id: u64) -> Option<User> {
        self.db.get(id).await
    }
}
