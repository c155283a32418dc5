"""The decisions of the controllers, pure: values in, values out; `now` is an argument."""
