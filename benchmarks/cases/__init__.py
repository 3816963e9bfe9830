"""What is raced: each suite yields its cases, each case its contestants."""
