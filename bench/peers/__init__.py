"""What liandan is measured against: loops in plain torch, as a person who knows torch writes them, with the fast flags torch documents."""
